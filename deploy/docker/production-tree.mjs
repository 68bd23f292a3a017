/**
 * Copies a service with what it needs at run time, and nothing else, out of a checkout that is installed and built:
 *
 *   node deploy/docker/production-tree.mjs services/peer /out/peer
 *
 * In two folders, so that an image keeps them in two layers: `third-party` changes with package-lock.json alone, `own`
 * with every commit.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const [service, out] = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));

/** What onnxruntime-node needs only for its install script. */
const INSTALL_ONLY = ['node_modules/adm-zip', 'node_modules/global-agent'];

/** The paths, as in package-lock.json, of the package at `path` and of all that it needs at run time. */
function closure(path, found = new Set()) {
  if (found.has(path) || INSTALL_ONLY.includes(path)) return found;
  found.add(path);
  const { link, resolved, dependencies = {}, optionalDependencies, peerDependencies } = packages[path];
  if (link) return closure(resolved, found);
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
    const needed = resolve(name, path);
    if (needed !== undefined) closure(needed, found);
    else if (name in dependencies) throw new Error(`${path} needs ${name}, which is not installed`);
  }
  return found;
}

/** Where Node finds the package `name` from the folder `from`; undefined if it is not installed. */
function resolve(name, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (candidate in packages && existsSync(candidate)) return candidate;
    if (folder === '.') return undefined;
  }
}

/** Our own code: what was compiled, with the maps that turn its stacks into lines of the sources. */
function isOwnCode(file) {
  return file === 'package.json' || /^dist\/.*\.js(\.map)?$/.test(file);
}

/** All but types, maps, texts other than licences, and programs for other machines. */
function isThirdPartyCode(file) {
  const [, native] = /^bin\/napi-v\d+\/([^/]+\/[^/]+)\//.exec(file) ?? [];
  if (native !== undefined) return native === `${process.platform}/${process.arch}`;
  return !/\.([mc]?ts|map|md)$/i.test(file) || /^licen[cs]e/i.test(file);
}

function filesOf(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [entry.name];
    // Those below a package are packages of their own, which the closure names where they are needed.
    if (entry.name === 'node_modules') return [];
    return filesOf(join(folder, entry.name)).map((file) => join(entry.name, file));
  });
}

for (const path of closure(service)) {
  const { link, resolved } = packages[path];
  const isOwn = link || !path.includes('node_modules/');
  const target = join(out, isOwn ? 'own' : 'third-party', path);
  if (link) {
    mkdirSync(dirname(target), { recursive: true });
    symlinkSync(relative(dirname(path), resolved), target);
    continue;
  }
  for (const file of filesOf(path).filter(isOwn ? isOwnCode : isThirdPartyCode)) {
    mkdirSync(dirname(join(target, file)), { recursive: true });
    copyFileSync(join(path, file), join(target, file));
  }
}
