import { ParleyError } from './errors.js';

/** Why an address cannot be listened on: PORT_IN_USE with the remedy, else ADDRESS_UNUSABLE. */
export function listenError(error: Error, host: string, port: number): ParleyError {
  const options = { details: { host, port: String(port) }, cause: error };
  if (error.message.includes('EADDRINUSE')) {
    const message = `Port ${port} on ${host} is in use; stop the process that listens there, or choose another port (0 picks a free one)`;
    return new ParleyError('PORT_IN_USE', message, options);
  }
  return new ParleyError('ADDRESS_UNUSABLE', `Cannot listen on ${host}:${port}: ${error.message}`, options);
}
