/**
 * onnxruntime reports its use to its makers and keeps an id of the device, unless this says no before it is loaded. Parley
 * sends nothing anywhere that its user did not ask for. To be imported before onnxruntime-node, in the main thread: a worker
 * has only a copy of the environment.
 */
process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
