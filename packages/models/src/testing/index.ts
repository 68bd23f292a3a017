export * from './faults.js';
export * from './hub-server.js';
export * from './obtain.js';
export * from './s3-server.js';
export * from './test-folders.js';
export * from './test-server.js';
