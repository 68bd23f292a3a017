import * as client from '@kubernetes/client-node';
import * as certManager from '@kubernetes-models/cert-manager/cert-manager.io/v1';
import * as keda from '@kubernetes-models/keda/keda.sh/v1alpha1';
import * as monitoring from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import * as apps from 'kubernetes-models/apps/v1';
import * as autoscaling from 'kubernetes-models/autoscaling/v2';
import * as batch from 'kubernetes-models/batch/v1';
import * as networking from 'kubernetes-models/networking.k8s.io/v1';
import * as policy from 'kubernetes-models/policy/v1';
import * as core from 'kubernetes-models/v1';
import type { Manifest } from './helm.js';

/** What is required and of which type, by API version. */
const MODELS: Readonly<Record<string, object>> = {
  v1: core,
  'apps/v1': apps,
  'autoscaling/v2': autoscaling,
  'batch/v1': batch,
  'networking.k8s.io/v1': networking,
  'policy/v1': policy,
  'cert-manager.io/v1': certManager,
  'keda.sh/v1alpha1': keda,
  'monitoring.coreos.com/v1': monitoring,
};

interface Model {
  new (data: object): { validate(): void };
}

interface TypeMap {
  getAttributeTypeMap?(): { baseName: string; type: string }[];
}

/**
 * What a Kubernetes API server would refuse in an object: fields that are required, of the wrong type, or unknown. Custom
 * resources are checked for the first two.
 */
export function problemsOf(manifest: Manifest): string[] {
  const { apiVersion, kind, metadata } = manifest;
  const name = `${kind} ${metadata.name}`;
  const model = (MODELS[apiVersion] as Record<string, Model> | undefined)?.[kind];
  if (model === undefined) return [`${name}: ${apiVersion} ${kind} is not known`];
  const unknown = unknownFields(manifest, typeNameOf(apiVersion, kind), '');
  try {
    new model(manifest).validate();
    return unknown.map((field) => `${name}: ${field}`);
  } catch (error) {
    return [`${name}: ${(error as Error).message}`, ...unknown.map((field) => `${name}: ${field}`)];
  }
}

/** `V1Deployment`, `V2HorizontalPodAutoscaler`: what the client calls a kind of Kubernetes itself. */
function typeNameOf(apiVersion: string, kind: string): string {
  const version = apiVersion.split('/').at(-1) ?? '';
  return `${version[0]?.toUpperCase()}${version.slice(1)}${kind}`;
}

function unknownFields(value: unknown, type: string, path: string): string[] {
  const element = /^Array<(.*)>$/.exec(type)?.[1];
  if (element !== undefined) {
    if (value === null || value === undefined) return [];
    if (!Array.isArray(value)) return [`${path} is no list`];
    return value.flatMap((item, index) => unknownFields(item, element, `${path}[${index}]`));
  }
  const known = (client as unknown as Record<string, TypeMap>)[type]?.getAttributeTypeMap?.();
  if (known === undefined || value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([field, child]) => {
    const found = known.find(({ baseName }) => baseName === field);
    const where = path === '' ? field : `${path}.${field}`;
    return found === undefined
      ? [`${where} is not known to ${type}`]
      : unknownFields(child, found.type, where);
  });
}
