import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** SwiftShader, Vulkan on a CPU, as Debian's package chromium-common brings it. */
const swiftShader = process.env.PARLEY_SWIFTSHADER ?? '/usr/lib/chromium/libvk_swiftshader.so';

type Env = Readonly<Record<string, string | undefined>>;
const folder = await mkdtemp(join(tmpdir(), 'parley-webgpu-'));
after(() => rm(folder, { recursive: true }));

/** A Vulkan whose only driver is SwiftShader; the file that comes with it names it by a relative path, which does not load. */
async function emulated(): Promise<Env> {
  const driver = join(folder, 'swiftshader_icd.json');
  const ICD = { library_path: swiftShader, api_version: '1.1.0' };
  await writeFile(driver, JSON.stringify({ file_format_version: '1.0.0', ICD }));
  return { ...process.env, VK_DRIVER_FILES: driver, XDG_RUNTIME_DIR: folder };
}

/** Why WebGPU does not run in an environment; undefined if it does. */
async function webGpuFailure(env: Env): Promise<string | undefined> {
  const graph = import.meta.resolve('@parley/graph');
  const script = `const { assertDevice } = await import(${JSON.stringify(graph)});
    await assertDevice('webgpu').catch(({ message }) => { console.log(message); });`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env,
  });
  return stdout.trim() || undefined;
}

/** The environment in which WebGPU runs, on a GPU if there is one. */
async function findWebGpu(): Promise<{ env: Env; on: string } | { missing: string }> {
  const onGpu = await webGpuFailure(process.env);
  if (onGpu === undefined) return { env: process.env, on: 'this machine’s GPU' };
  if (!existsSync(swiftShader))
    return {
      missing: `no GPU with WebGPU, and no SwiftShader at ${swiftShader} (Debian: chromium-common and libvulkan1)`,
    };
  const env = await emulated();
  const failure = await webGpuFailure(env);
  return failure === undefined ? { env, on: 'SwiftShader' } : { missing: failure };
}

const webGpu = await findWebGpu();

test(
  'the engine on WebGPU passes its own tests, within the same tolerances',
  { skip: 'missing' in webGpu && webGpu.missing },
  async (t) => {
    assert.ok('env' in webGpu);
    const suite = fileURLToPath(new URL('./webgpu-suite.js', import.meta.url));
    // Under the test runner's own variable the child would report in its binary format.
    const env = { ...webGpu.env, PARLEY_TEST_DEVICE: 'webgpu', NODE_TEST_CONTEXT: undefined };
    const child = spawn(process.execPath, ['--test-reporter=spec', '--enable-source-maps', suite], { env });
    t.after(() => child.kill());
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => (output += String(chunk)));
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 0, output);
    const count = (what: string): string => new RegExp(`^ℹ ${what} (\\d+)$`, 'm').exec(output)?.[1] ?? '?';
    assert.ok(Number(count('pass')) >= 60, output);
    t.diagnostic(`on ${webGpu.on}: ${count('pass')} tests passed, ${count('skipped')} too large to emulate`);
  },
);
