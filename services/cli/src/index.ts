export { startLocalMesh, threadsPerPeer } from './mesh/local-mesh.js';
export type { LocalMesh, LocalMeshOptions } from './mesh/local-mesh.js';
export { freePorts } from './mesh/free-ports.js';
export { DEMO_FOLDER, demoPeers } from './mesh/demo-peers.js';
export type { LocalPeer, PeerTuning } from './mesh/mesh-services.js';
export { measure } from './measure/measurement.js';
export type {
  Measurement,
  MeasurementPlan,
  PeerMeasurement,
  Verifier,
  YesNoMeasurement,
} from './measure/measurement.js';
export { change, meanGap, sampledScores, shareCorrect, shareUnparseable } from './measure/statistics.js';
export { connectPeers } from './measure/peer-clients.js';
export { demoPlan, DEMO_SIZE } from './demo/demo-plan.js';
export { DEMO_BAR, demoResult, renderDemoResult } from './demo/demo-result.js';
export type { DemoResult } from './demo/demo-result.js';
export { runDemo } from './demo/run-demo.js';
export { readEvaluationData } from './input/evaluation-data.js';
export type { EvaluationData } from './input/evaluation-data.js';
export type { RunRecord } from './runs/run-record.js';
export { createSupervisor } from './supervisor/supervisor.js';
export type { Supervisor } from './supervisor/supervisor.js';
