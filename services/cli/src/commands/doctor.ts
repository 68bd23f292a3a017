import { Command } from 'commander';
import type { Bus } from '@parley/bus';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { checkCertificates } from '../doctor/check-certificates.js';
import { checkMachine } from '../doctor/check-machine.js';
import { checkNats } from '../doctor/check-nats.js';
import { checkPeers } from '../doctor/check-peers.js';
import { checkRound } from '../doctor/check-round.js';
import { lookAt, ok, unknown } from '../doctor/finding.js';
import type { Finding, Verdict } from '../doctor/finding.js';
import { coordinatorAddress, coordinatorClient } from '../mesh/find-coordinator.js';
import { openBus } from '../mesh/open-bus.js';
import { plural } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import { addJson, addState, fromCwd } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface DoctorOptions extends CommonOptions {
  coordinator?: string;
  round?: boolean;
}

/** `parley doctor`. */
export function doctorCommand(cli: Cli): Command {
  const command = new Command('doctor')
    .summary('look a mesh over and say what is wrong with it')
    .description(
      'Looks at NATS, its streams and consumers, the coordinator, every peer and its version, certificates, clocks and ' +
        'memory, and says what to do about what it finds. Where no mesh is up or named, it looks at this machine. Exits ' +
        'with 1 if anything is wrong.',
    )
    .option('--coordinator <address>', 'host:port of the coordinator; the mesh that is up here unless given')
    .option(
      '--round',
      'also let all peers answer, score and learn one tiny round, which moves no weight by more than 1e-12',
    );
  addState(addJson(command, 'all findings'));
  return command.action(async (options: DoctorOptions) => doctor(cli, options));
}

async function doctor(cli: Cli, options: DoctorOptions): Promise<void> {
  const { json } = options;
  const findings = await examine(cli, options);
  if (json) cli.out(JSON.stringify({ findings }));
  else cli.out(render(findings));
  const problems = findings.filter(({ verdict }) => verdict === 'problem');
  if (problems.length === 0) return;
  throw new ParleyError('RUN_STATE_CONFLICT', `${plural(problems.length, 'problem')}: see above what to do`);
}

async function examine(cli: Cli, { coordinator, round, ...options }: DoctorOptions): Promise<Finding[]> {
  const { env } = cli;
  const state = fromCwd(cli, options.state);
  const address = await coordinatorAddress({ state, env, ...(coordinator && { coordinator }) });
  if (address === undefined) {
    const none = ok(
      'mesh',
      'none is up here, and none is named with --coordinator: this machine is looked at',
    );
    return [none, ...(await checkMachine(cli, state))];
  }
  const nowMs = () => cli.now().getTime();
  const findings: Finding[] = [];
  const look = async (subject: string, work: () => Promise<Finding[]>) =>
    void findings.push(...(await lookAt(subject, work)));

  using client = coordinatorClient(address, env);
  let bus: Bus | undefined;
  await look('nats', async () => {
    bus = await openBus({ state, env, identity: { role: 'operator' } });
    return bus
      ? []
      : [unknown('nats', 'not named, so not looked at', 'set PARLEY_NATS_URL to look at it too')];
  });
  try {
    let peers = new Map<string, string>();
    await look('coordinator', async () => {
      const checked = await checkPeers(client, bus, nowMs);
      peers = checked.addresses;
      return checked.findings;
    });
    const servers = new Map([['the coordinator', client.address], ...peers]);
    await look('certificates', () => checkCertificates(env, servers, nowMs));
    const names = [...peers.keys()];
    const connected = bus;
    if (connected) await look('nats', () => checkNats(connected, names, nowMs));
    if (round) await look('round', () => checkRound(cli, client, names, connected));
    return findings;
  } finally {
    await bus?.close();
  }
}

const MARKS: Readonly<Record<Verdict, string>> = { ok: '✔', warning: '!', problem: '✖', unknown: '?' };

function render(findings: readonly Finding[]): string {
  const table = renderTable(
    [{ heading: '' }, { heading: 'what' }, { heading: 'found' }],
    findings.map(({ verdict, subject, detail }) => [MARKS[verdict], subject, detail]),
  );
  const advice = findings
    .filter(({ verdict, advice: text }) => verdict !== 'ok' && text !== '')
    .map(({ verdict, subject, advice: text }) => `${MARKS[verdict]} ${subject}: ${text}`);
  const count = (verdict: Verdict) => findings.filter((finding) => finding.verdict === verdict).length;
  const total = `${plural(count('problem'), 'problem')}, ${plural(count('warning'), 'warning')}, ${count('ok')} in order`;
  return [table, '', ...(advice.length === 0 ? [] : [...advice, '']), total].join('\n');
}
