import './no-telemetry.js';
import { InferenceSession, listSupportedBackends } from 'onnxruntime-node';
import { createGraph } from './graph.js';
import { GraphError } from './graph-error.js';
import { toModelBytes } from './model-bytes.js';
import type { Device } from './session.js';
import { createTensor } from './tensor.js';

/**
 * Proves that a device computes: one multiplication runs on it, with the CPU forbidden, and gives the right result.
 * @throws GraphError that says why it cannot, and what to install or to mend.
 */
export async function assertDevice(device: Device): Promise<void> {
  if (device === 'cpu') return;
  const supported = listSupportedBackends().map((backend) => backend.name);
  if (!supported.includes(device))
    throw refusal(device, `this onnxruntime-node has ${supported.join(', ')} only`);
  const g = createGraph('device-probe');
  const x = g.input('x', [2, 2]);
  g.output(g.matMul(x, x), 'y');
  let result: readonly number[];
  try {
    const session = await InferenceSession.create(toModelBytes(g), {
      executionProviders: [device],
      logSeverityLevel: 4,
      extra: { 'session.disable_cpu_ep_fallback': '1' },
    });
    try {
      const { y } = await session.run({ x: createTensor('float32', [2, 2], Float32Array.of(1, 2, 3, 4)) });
      result = [...(y.data as Float32Array)];
    } finally {
      await session.release();
    }
  } catch (cause) {
    throw refusal(device, onnxruntimeReason(cause), cause);
  }
  if (result.join() !== '7,10,15,22')
    throw refusal(device, `it multiplies wrongly: [1 2; 3 4]² came out as ${result.join(', ')}`);
}

function refusal(device: Device, why: string, cause?: unknown): GraphError {
  const message = `device "${device}" cannot run here: ${why}. ${remedies[device]}`;
  return new GraphError('device', message, cause === undefined ? {} : { cause });
}

/** The last sentence of onnxruntime's message, without the file, function and condition before it. */
function onnxruntimeReason(cause: unknown): string {
  const [line] = (cause instanceof Error ? cause.message : String(cause)).trim().split('\n');
  return line.replace(/^.* was false\. /, '').replace(/\.$/, '');
}

const remedies: Readonly<Record<Device, string>> = {
  cpu: '',
  webgpu:
    'WebGPU needs a GPU whose driver speaks Vulkan (Linux: libvulkan1 and the driver; `vulkaninfo --summary` lists what ' +
    'there is), Direct3D 12 or Metal; onnxruntime-node has it on x64 Linux, Windows and macOS',
  cuda:
    'CUDA needs x64 Linux, an NVIDIA driver, CUDA 12 and cuDNN 9 on the library path, and the libraries that npm does not ' +
    'bring: run `ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js` where Parley is ' +
    'installed, or take the image peer-cuda',
  coreml: 'CoreML needs macOS',
  dml: 'DirectML needs Windows',
};
