export { checkpointDigest } from './checkpoint-digest.js';
export { logObserver, size } from './fetch-observer.js';
export type { FetchObserver } from './fetch-observer.js';
export { MODEL_FIELDS, cacheFolders } from './model-fields.js';
export type { ModelSettings } from './model-fields.js';
export { MODEL_URIS, formatModelUri, parseModelUri, parseRepo } from './model-uri.js';
export type { ModelUri } from './model-uri.js';
export { copyModel, obtainModel } from './obtain-model.js';
export type { ObtainOptions, ObtainedModel } from './obtain-model.js';
