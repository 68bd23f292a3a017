import type { ServiceStatus } from '../supervisor/supervised-service.js';

/** The line of a service whose state changed, or undefined for a change that says nothing to a person. */
export function statusLine({
  name,
  condition,
  address,
  pid,
  note,
  restarts,
  logFile,
}: ServiceStatus): string | undefined {
  const label = name.padEnd(12);
  switch (condition) {
    case 'ready': {
      const again = restarts === 0 ? '' : `, started again ${restarts === 1 ? 'once' : `${restarts} times`}`;
      return `  ${label} ready       ${address} (process ${pid}${again})`;
    }
    case 'restarting':
      return `  ${label} restarting  ${note}; log: ${logFile}`;
    case 'stopped':
      return `  ${label} stopped${note === '' ? '' : `     ${note}`}`;
    case 'starting':
    case 'stopping':
      return undefined;
  }
}
