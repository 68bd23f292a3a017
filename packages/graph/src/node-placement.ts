import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { GraphError } from './graph-error.js';

/** An operator that ran on the CPU although its session belongs to another device. */
export interface StrayNode {
  readonly op: string;
  readonly name: string;
}

/** Watches where the operators of a session run, by onnxruntime's own profile of one run. */
export interface PlacementProbe {
  /** To be merged into the options that the session is created with. */
  readonly options: Pick<InferenceSession.SessionOptions, 'enableProfiling' | 'profileFilePrefix'>;
  /** Ends the profile after a run. @returns operators that computed floating-point numbers on the CPU */
  finish(session: InferenceSession): StrayNode[];
  /** Removes what is left on disk. Idempotent. */
  discard(): void;
}

/** Starts one; its profile, about a kilobyte an operator, lies in a folder of its own under the system's temporary one. */
export function createPlacementProbe(): PlacementProbe {
  const folder = makeFolder();
  const discard = (): void => rmSync(folder, { recursive: true, force: true });
  return {
    options: { enableProfiling: true, profileFilePrefix: join(folder, 'run') },
    finish(session) {
      session.endProfiling();
      try {
        const [file] = readdirSync(folder);
        if (file === undefined) throw new Error(`onnxruntime wrote no profile to ${folder}`);
        return strayNodes(readFileSync(join(folder, file), 'utf8'));
      } finally {
        discard();
      }
    },
    discard,
  };
}

function makeFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'parley-placement-'));
  } catch (cause) {
    const message =
      `where operators run is read from a profile, for which a folder in ${tmpdir()} cannot be made ` +
      `(${cause instanceof Error ? cause.message : String(cause)}); make it writable, or set TMPDIR`;
    throw new GraphError('session', message, { cause });
  }
}

/** An event of onnxruntime's profile (Chrome's trace format), as far as it matters here. */
interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  readonly args?: {
    readonly op_name?: string;
    readonly provider?: string;
    readonly input_type_shape?: readonly Readonly<Record<string, unknown>>[];
    readonly output_type_shape?: readonly Readonly<Record<string, unknown>>[];
  };
}

const floatTypes: ReadonlySet<string> = new Set(['float', 'float16', 'bfloat16', 'double']);

/**
 * Providers leave the arithmetic of shapes and indices to the CPU on purpose: it is small, and its results are needed there.
 * Whatever takes or gives floating-point numbers belongs on the device.
 */
function strayNodes(profile: string): StrayNode[] {
  const nodes = (JSON.parse(profile) as readonly ProfileEvent[]).flatMap(({ cat, name, args }) =>
    cat === 'Node' && args?.provider === 'CPUExecutionProvider' ? [{ name, args }] : [],
  );
  return nodes.flatMap(({ name, args }) => {
    const types = [...(args.input_type_shape ?? []), ...(args.output_type_shape ?? [])].flatMap(Object.keys);
    const node = { op: args.op_name ?? '?', name: name.replace(/_kernel_time$/, '') };
    // The shape of a tensor is read where the tensor lies.
    return node.op !== 'Shape' && types.some((type) => floatTypes.has(type)) ? [node] : [];
  });
}

/** `FusedMatMul × 4 (layer0/FusedMatMul_15, …)`, an operator an entry. */
export function describeStrays(strays: readonly StrayNode[]): string {
  const byOp = new Map<string, string[]>();
  for (const { op, name } of strays) byOp.set(op, [...(byOp.get(op) ?? []), name]);
  return [...byOp]
    .map(([op, names]) => `${op} × ${names.length} (${names[0]}${names.length > 1 ? ', …' : ''})`)
    .join(', ');
}
