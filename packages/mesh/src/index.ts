export * from './peer-handle.js';
export * from './peer-health.js';
export * from './recipe-codec.js';
export * from './round-codec.js';
export * from './round-crew.js';
