import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The supervisor's end of the keeper: which process groups must not outlive it. */
export interface Keeper {
  add(pid: number): void;
  remove(pid: number): void;
  /** Lets the keeper go; it ends whatever is still listed. Idempotent. */
  close(): Promise<void>;
}

/** Starts the keeper (see `keeper.ts`) as a process of its own session, and again whenever it is lost. */
export function startKeeper(): Keeper {
  const pids = new Set<number>();
  let closed = false;
  let child = launch();

  function launch(): ChildProcess {
    const path = fileURLToPath(new URL('./keeper-main.js', import.meta.url));
    const started = spawn(process.execPath, [path], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    // A keeper that was killed shows as EPIPE here and as 'exit' below; the latter is what is acted on.
    started.stdin?.on('error', () => undefined);
    started.once('exit', () => {
      if (closed) return;
      child = launch();
    });
    for (const pid of pids) started.stdin?.write(`add ${pid}\n`);
    return started;
  }

  return {
    add(pid) {
      pids.add(pid);
      child.stdin?.write(`add ${pid}\n`);
    },
    remove(pid) {
      pids.delete(pid);
      child.stdin?.write(`remove ${pid}\n`);
    },
    async close() {
      if (closed) return;
      closed = true;
      const current = child;
      const exited = new Promise<void>((resolve) => current.once('exit', () => resolve()));
      if (current.exitCode !== null || current.signalCode !== null) return;
      current.stdin?.end();
      await exited;
    },
  };
}
