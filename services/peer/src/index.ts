export { PEER_FIELDS } from './config.js';
