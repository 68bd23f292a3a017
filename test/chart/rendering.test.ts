import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { CHART, findHelm, render } from '../support/helm.js';
import type { Manifest, Rendering } from '../support/helm.js';
import { problemsOf } from '../support/kubernetes-schema.js';

const helm = await findHelm();
const skip = 'missing' in helm ? helm.missing : false;
const program = 'path' in helm ? helm.path : '';
const FILES = readdirSync(join(CHART, 'ci')).map((file) => join(CHART, 'ci', file));

interface Container {
  name: string;
  image: string;
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: unknown }[];
  ports?: { name: string; containerPort: number }[];
  volumeMounts?: { name: string }[];
  resources?: { requests?: object; limits?: { memory?: string } };
  securityContext?: Record<string, unknown>;
}

interface PodSpec {
  containers: Container[];
  initContainers?: Container[];
  volumes?: { name: string; hostPath?: unknown }[];
  serviceAccountName: string;
  automountServiceAccountToken: boolean;
  securityContext: Record<string, unknown>;
  [field: string]: unknown;
}

/** Pods of an object, with their labels. */
function podsOf({ kind, spec, metadata }: Manifest): { labels: Record<string, string>; pod: PodSpec }[] {
  if (kind === 'Pod') return [{ labels: metadata.labels ?? {}, pod: spec as PodSpec }];
  const template = (spec as { template?: { metadata?: { labels?: Record<string, string> }; spec: PodSpec } })
    ?.template;
  return template?.spec?.containers ? [{ labels: template.metadata?.labels ?? {}, pod: template.spec }] : [];
}

const containersOf = (pod: PodSpec) => [...pod.containers, ...(pod.initContainers ?? [])];

function selects(selector: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

describe('the chart', { skip }, () => {
  for (const file of FILES) {
    describe(`with ${file.slice(file.lastIndexOf('/') + 1)}`, () => {
      let rendering: Rendering;
      let manifests: Manifest[] = [];
      before(async () => {
        rendering = await render(program, '--values', file);
        ({ manifests } = rendering);
      });

      it('is what helm finds in order', async () => {
        const lint = promisify(execFile)(program, ['lint', CHART, '--strict', '--values', file]);
        await assert.doesNotReject(lint);
        assert.equal(rendering.error, '');
      });

      it('renders objects that a Kubernetes API server takes', () => {
        assert.deepEqual(manifests.flatMap(problemsOf), []);
        const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
        assert.equal(new Set(names).size, names.length, 'no two objects of one name');
        for (const { metadata } of manifests) assert.ok(metadata.name.length <= 63, metadata.name);
      });

      it('has pods that pass Pod Security "restricted", with no more than they need', () => {
        const pods = manifests.flatMap(podsOf);
        assert.ok(pods.length >= 6);
        for (const { pod } of pods) {
          const { runAsNonRoot, runAsUser, seccompProfile } = pod.securityContext;
          assert.deepEqual([runAsNonRoot, seccompProfile], [true, { type: 'RuntimeDefault' }]);
          assert.ok(Number(runAsUser) > 0);
          assert.equal(pod.automountServiceAccountToken, false);
          for (const field of ['hostNetwork', 'hostPID', 'hostIPC']) assert.equal(pod[field], undefined);
          assert.ok((pod.volumes ?? []).every(({ hostPath }) => hostPath === undefined));
          const volumes = new Set([
            ...(pod.volumes ?? []).map(({ name }) => name),
            'state',
            'models',
            'data',
          ]);
          for (const container of containersOf(pod)) {
            const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } =
              container.securityContext ?? {};
            assert.deepEqual(
              [allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities],
              [false, true, { drop: ['ALL'] }],
              container.name,
            );
            assert.ok(
              container.resources?.requests ?? container.resources?.limits,
              `${container.name} says what it needs`,
            );
            assert.ok(container.resources?.limits?.memory, `${container.name} has a limit of memory`);
            assert.match(container.image, /:[\w.-]+(@sha256:[0-9a-f]{64})?$/, 'images have a tag');
            assert.doesNotMatch(container.image, /:latest/);
            for (const { name } of container.volumeMounts ?? [])
              assert.ok(volumes.has(name), `${container.name} mounts ${name}`);
          }
        }
      });

      it('keeps secrets out of arguments and environment', () => {
        const secrets = manifests
          .filter(({ kind }) => kind === 'Secret')
          .flatMap((secret) => Object.values<string>({ ...secret['stringData'], ...secret['data'] }));
        const texts = manifests
          .flatMap(podsOf)
          .flatMap(({ pod }) => containersOf(pod))
          .flatMap(({ args = [], env = [] }) => [...args, ...env.flatMap(({ value }) => value ?? [])]);
        for (const secret of secrets.flatMap((text) => text.split(/\s+/)).filter((text) => text.length >= 16))
          assert.ok(!texts.some((text) => text.includes(secret)));
      });

      it('refers only to what is there: selectors, services, targets, volumes, probes', () => {
        const pods = manifests.flatMap(podsOf);
        const labelled = (selector: Record<string, string>) =>
          pods.filter(({ labels }) => selects(selector, labels));
        for (const manifest of manifests) {
          const { kind, metadata, spec } = manifest;
          const name = `${kind} ${metadata.name}`;
          if (kind === 'Service') {
            const chosen = labelled((spec as { selector: Record<string, string> }).selector);
            assert.equal(chosen.length, 1, `${name} selects the pods of one workload`);
            const ports = new Set(
              chosen.flatMap(({ pod }) => pod.containers.flatMap((c) => (c.ports ?? []).map((p) => p.name))),
            );
            for (const { targetPort } of (spec as { ports: { targetPort: string }[] }).ports)
              assert.ok(ports.has(targetPort), `${name}: ${targetPort}`);
          }
          if (kind === 'PodDisruptionBudget' || kind === 'NetworkPolicy') {
            const { selector, podSelector } = spec as Record<
              string,
              { matchLabels: Record<string, string> } | undefined
            >;
            assert.ok(labelled((selector ?? podSelector)!.matchLabels).length >= 1, `${name} selects pods`);
          }
          if (kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject') {
            const { scaleTargetRef: target } = spec as { scaleTargetRef: { kind: string; name: string } };
            const scaled = manifests.find(
              (other) => other.kind === target.kind && other.metadata.name === target.name,
            );
            assert.ok(scaled, `${name} scales what is there`);
            assert.equal(scaled['spec'].replicas, undefined, `${target.name} leaves its replicas to ${kind}`);
          }
          if (kind === 'Deployment' || kind === 'StatefulSet') {
            const { selector } = spec as { selector: { matchLabels: Record<string, string> } };
            assert.ok(podsOf(manifest).every(({ labels }) => selects(selector.matchLabels, labels)));
          }
        }
      });
    });
  }

  it('closes every pod to what no policy lets in or out', async () => {
    const { manifests } = await render(program);
    const policies = manifests.filter(({ kind }) => kind === 'NetworkPolicy');
    const general = policies.find(({ metadata }) => metadata.name === 'mesh-parley-default');
    assert.deepEqual(general?.['spec'].policyTypes, ['Ingress', 'Egress']);
    assert.equal(general?.['spec'].ingress, undefined);
    for (const { labels } of manifests.flatMap(podsOf))
      assert.ok(selects(general?.['spec'].podSelector.matchLabels as Record<string, string>, labels));
    const open = policies.flatMap(({ spec }) =>
      [...(spec.ingress ?? []), ...(spec.egress ?? [])].filter(
        (rule: { from?: []; to?: [] }) => !(rule.from ?? rule.to)?.length,
      ),
    );
    assert.deepEqual(open, [], 'no rule is for everybody');
  });
});
