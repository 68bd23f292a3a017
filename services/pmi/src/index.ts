export { startPmi } from './app.js';
export type { Pmi } from './app.js';
export { PMI_FIELDS } from './config.js';
export type { PmiConfig } from './config.js';
export { PMI_METRICS } from './pmi-metrics.js';
