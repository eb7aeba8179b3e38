export { backoffMs } from '../util/backoff.js';
