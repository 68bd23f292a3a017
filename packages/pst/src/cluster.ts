import { compareText } from './numbers.js';
import { createRandom, type Random } from './random.js';

const POWER_ITERATIONS = 40;
const KMEANS_ITERATIONS = 25;
const KMEANS_RESTARTS = 3;

/** Options of {@link clusterTexts}. */
export interface ClusterOptions {
  readonly clusters: number;
  readonly svdDimensions: number;
  readonly seed: bigint;
}

/**
 * Groups texts by topic without labels: TF-IDF over their words, truncated SVD, k-means. Returns one cluster
 * index a text. Deterministic, and independent of the order of the texts: they are processed sorted.
 */
export function clusterTexts(texts: readonly string[], options: ClusterOptions): number[] {
  const order = texts.map((_, i) => i).sort((a, b) => compareText(texts[a], texts[b]));
  const random = createRandom(options.seed);
  const rows = tfIdf(order.map((i) => texts[i]));
  const points = project(rows, options.svdDimensions, random);
  const labels = kMeans(points, options.clusters, random);
  const result = new Array<number>(texts.length).fill(0);
  order.forEach((original, sorted) => (result[original] = labels[sorted]!));
  return result;
}

/** A sparse row: (column, value) pairs. */
type SparseRow = readonly (readonly [column: number, value: number])[];

/** log(1 + count) · log(n / documents with the word), rows of unit length. Words are runs of letters. */
function tfIdf(texts: readonly string[]): SparseRow[] {
  const counts = texts.map((text) => {
    const row = new Map<string, number>();
    for (const word of text.toLowerCase().match(/\p{L}+/gu) ?? []) row.set(word, (row.get(word) ?? 0) + 1);
    return row;
  });
  const documents = new Map<string, number>();
  for (const row of counts)
    for (const word of row.keys()) documents.set(word, (documents.get(word) ?? 0) + 1);
  const columns = new Map([...documents.keys()].sort(compareText).map((word, i) => [word, i]));
  return counts.map((row) => {
    const entries = [...row].map(
      ([word, count]) =>
        [columns.get(word)!, Math.log1p(count) * Math.log(texts.length / documents.get(word)!)] as const,
    );
    const norm = Math.hypot(...entries.map(([, value]) => value)) || 1;
    return entries.map(([column, value]) => [column, value / norm] as const);
  });
}

/**
 * Coordinates of the centred rows in the space of the leading right singular vectors, by orthogonal iteration.
 * The basis of that space is arbitrary up to a rotation, which distances do not see.
 */
function project(rows: readonly SparseRow[], dimensions: number, random: Random): Float64Array[] {
  const width = 1 + rows.reduce((top, row) => Math.max(top, ...row.map(([column]) => column)), 0);
  const rank = Math.min(dimensions, width);
  const mean = new Float64Array(width);
  for (const row of rows) for (const [column, value] of row) mean[column] += value / rows.length;
  let basis = orthonormalize(
    Array.from({ length: rank }, () => Float64Array.from({ length: width }, () => random.normal())),
  );
  for (let step = 0; step < POWER_ITERATIONS; step++) {
    basis = orthonormalize(basis.map((vector) => applyTransposed(rows, mean, apply(rows, mean, vector))));
  }
  const coordinates = basis.map((vector) => apply(rows, mean, vector));
  return rows.map((_, i) => Float64Array.from(coordinates, (column) => column[i]));
}

/** (X − 1μᵀ) v */
function apply(rows: readonly SparseRow[], mean: Float64Array, vector: Float64Array): Float64Array {
  const shift = mean.reduce((sum, value, i) => sum + value * vector[i], 0);
  return Float64Array.from(rows, (row) => row.reduce((sum, [c, value]) => sum + value * vector[c], -shift));
}

/** (X − 1μᵀ)ᵀ u */
function applyTransposed(rows: readonly SparseRow[], mean: Float64Array, vector: Float64Array): Float64Array {
  const total = vector.reduce((sum, value) => sum + value, 0);
  const result = mean.map((value) => -value * total);
  rows.forEach((row, i) => {
    for (const [column, value] of row) result[column] += value * vector[i];
  });
  return result;
}

/** Gram and Schmidt; directions that vanish (rank below the request) become zero vectors. */
function orthonormalize(vectors: readonly Float64Array[]): Float64Array[] {
  const done: Float64Array[] = [];
  for (const vector of vectors) {
    const original = Math.sqrt(dot(vector, vector));
    // Twice is enough to remove what rounding leaves of the earlier directions.
    for (let pass = 0; pass < 2; pass++) {
      for (const other of done) {
        const share = dot(vector, other);
        for (let i = 0; i < vector.length; i++) vector[i] -= share * other[i];
      }
    }
    const norm = Math.sqrt(dot(vector, vector));
    const scale = norm > 1e-10 * original && norm > 0 ? 1 / norm : 0;
    done.push(vector.map((value) => value * scale));
  }
  return done;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** k-means++ (Arthur and Vassilvitskii, 2007), the best of a few restarts by within-cluster distance. */
function kMeans(points: readonly Float64Array[], clusters: number, random: Random): number[] {
  let best: { cost: number; labels: number[] } = { cost: Infinity, labels: [] };
  for (let restart = 0; restart < KMEANS_RESTARTS && points.length > 0; restart++) {
    let centres = seedCentres(points, clusters, random);
    let labels: number[] = [];
    let cost = 0;
    for (let step = 0; step < KMEANS_ITERATIONS; step++) {
      const nearest = points.map((point) => nearestCentre(point, centres));
      labels = nearest.map(({ index }) => index);
      cost = nearest.reduce((sum, { distance }) => sum + distance, 0);
      centres = centres.map((centre, k) => centroid(points, labels, k) ?? centre);
    }
    if (cost < best.cost) best = { cost, labels };
  }
  return best.labels;
}

function seedCentres(points: readonly Float64Array[], clusters: number, random: Random): Float64Array[] {
  const centres = [random.pick(points)];
  while (centres.length < Math.min(clusters, points.length)) {
    const distances = points.map((point) => nearestCentre(point, centres).distance);
    let target = random.float() * distances.reduce((sum, distance) => sum + distance, 0);
    const index = distances.findIndex((distance) => (target -= distance) < 0);
    if (index < 0) break; // every point already is a centre
    centres.push(points[index]);
  }
  return centres;
}

function nearestCentre(
  point: Float64Array,
  centres: readonly Float64Array[],
): { index: number; distance: number } {
  let index = 0;
  let distance = Infinity;
  centres.forEach((centre, k) => {
    let sum = 0;
    for (let i = 0; i < point.length; i++) sum += (point[i] - centre[i]) ** 2;
    if (sum < distance) [index, distance] = [k, sum];
  });
  return { index, distance };
}

function centroid(
  points: readonly Float64Array[],
  labels: readonly number[],
  cluster: number,
): Float64Array | null {
  const members = points.filter((_, i) => labels[i] === cluster);
  if (members.length === 0) return null;
  return members[0].map((_, d) => members.reduce((sum, point) => sum + point[d], 0) / members.length);
}
