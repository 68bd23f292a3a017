export { startCoordinator } from './app.js';
export type { Coordinator } from './app.js';
export { COORDINATOR_FIELDS } from './config.js';
export type { CoordinatorConfig } from './config.js';
export { COORDINATOR_METRICS } from './coordinator-metrics.js';
