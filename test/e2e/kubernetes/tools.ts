import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The repository. */
export const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

/** kubectl and helm for one cluster. */
export interface Tools {
  /** Runs kubectl. @returns standard output; @throws Error with standard error */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  helm(args: readonly string[]): Promise<string>;
  /** An object, as the API server has it. */
  get<T>(...args: string[]): Promise<T>;
  apply(...objects: object[]): Promise<void>;
  /** Forwards a free local port to a port of a service or pod, until disposal. */
  forward(namespace: string, target: string, port: number): Promise<Forwarding>;
}

/** A port on localhost. */
export interface Forwarding extends AsyncDisposable {
  readonly port: number;
}

/** @param env - `PATH` with kubectl and helm, `KUBECONFIG`; @param context - of that kubeconfig; the current one unless given */
export function createTools(env: NodeJS.ProcessEnv, context?: string): Tools {
  const kubectlContext = context === undefined ? [] : ['--context', context];
  const helmContext = context === undefined ? [] : ['--kube-context', context];
  const kubectl: Tools['kubectl'] = (args, input) =>
    runTool('kubectl', [...kubectlContext, ...args], env, input);
  return {
    kubectl,
    helm: (args) => runTool('helm', [...helmContext, ...args], env),
    get: async <T>(...args: string[]) => JSON.parse(await kubectl(['get', '-o', 'json', ...args])) as T,
    apply: async (...objects) =>
      void (await kubectl(['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n'))),
    async forward(namespace, target, port) {
      const args = [...kubectlContext, '-n', namespace, 'port-forward', target, `:${port}`];
      const child = spawn('kubectl', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      const found = await new Promise<number>((resolve, reject) => {
        child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
        child.stdout.on('data', (chunk: Buffer) => {
          const [, local] = /127\.0\.0\.1:(\d+)/.exec(chunk.toString()) ?? [];
          if (local !== undefined) resolve(Number(local));
        });
        child.once('error', reject);
        child.once('exit', () => reject(new Error(`kubectl port-forward ${target}: ${said}`)));
      });
      return { port: found, [Symbol.asyncDispose]: async () => void child.kill() };
    },
  };
}

async function runTool(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input?: string,
): Promise<string> {
  const running = promisify(execFile)(program, args, { env, maxBuffer: 256 * 1024 * 1024 });
  running.child.stdin?.end(input);
  try {
    return (await running).stdout;
  } catch (error) {
    const { stderr, stdout, message } = error as Error & { stderr?: string; stdout?: string };
    const said = `${stdout ?? ''}${stderr ?? ''}`.trim() || message;
    throw new Error(`${program} ${args.join(' ').slice(0, 300)}: ${said}`, { cause: error });
  }
}
