export { startPeer } from './app.js';
export type { PeerDeps, RunningPeer } from './app.js';
export { PEER_FIELDS } from './config.js';
export type { PeerConfig } from './config.js';
export type { VersionLog } from './version-log.js';
export type { WeightsLocation, WeightsStore } from './weights-store.js';
export { PEER_METRICS } from './peer-metrics.js';
export { FETCH_FIELDS } from './fetch-model/fetch-config.js';
