import { ParleyError } from '@parley/runtime';

/** The names that a model's configuration and tokenizer have. */
const TEXTS =
  /^(config|generation_config|special_tokens_map|chat_template|tokenizer[A-Za-z0-9_.-]*)\.json$|^tokenizer[A-Za-z0-9_.-]*\.(model|txt)$|^chat_template[A-Za-z0-9_.-]*\.jinja$/;
const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const SHARD = /^model-\d+-of-\d+\.safetensors$/;
/** Safetensors that are no model in the form that is read here: adapters, and the weights of other programs. */
const OTHER_WEIGHTS = /^(adapter_|consolidated)/;

/**
 * Which files of a model folder a peer needs: configuration, tokenizer and safetensors, of the folder itself. Never anything
 * that could be executed (.py, .bin), and no weights twice.
 */
export function selectModelFiles(names: readonly string[]): string[] {
  return [...names.filter((name) => TEXTS.test(name)), ...weightsOf(names)].sort();
}

function weightsOf(names: readonly string[]): string[] {
  if (names.includes(SINGLE)) return [SINGLE];
  const index = names.filter((name) => name === INDEX);
  const shards = names.filter((name) => SHARD.test(name));
  if (shards.length > 0) return [...index, ...shards];
  return [
    ...index,
    ...names.filter((name) => /^[^/]+\.safetensors$/.test(name) && !OTHER_WEIGHTS.test(name)),
  ];
}

/**
 * Whether a peer can work with a folder of these files.
 *
 * @throws ParleyError CHECKPOINT_INVALID naming what is missing, and what is there in its place
 */
export function requireComplete(names: readonly string[], where: string): void {
  const missing = missingFile(names);
  if (missing === undefined) return;
  const others = names.filter(
    (name) => /\.(bin|gguf|pth|pt|onnx|h5|msgpack)$/.test(name) || OTHER_WEIGHTS.test(name),
  );
  const instead =
    missing === SINGLE && others.length > 0
      ? `It has ${others.slice(0, 3).join(', ')}, which is not read: save the model with save_pretrained(…, safe_serialization=True)`
      : 'A model is a Hugging Face folder with config.json, tokenizer.json and safetensors';
  throw new ParleyError('CHECKPOINT_INVALID', `${where} has no ${missing}. ${instead}`, {
    details: { where, missing },
  });
}

/** The first file that a peer would miss; undefined if it has all. */
export function missingFile(names: readonly string[]): string | undefined {
  const text = ['config.json', 'tokenizer.json'].find((name) => !names.includes(name));
  if (text !== undefined) return text;
  const weights = weightsOf(names);
  if (weights.includes(SINGLE)) return undefined;
  if (!weights.includes(INDEX)) return weights.length === 0 ? SINGLE : INDEX;
  return weights.length > 1 ? missingShard(weights) : SINGLE;
}

/** Shards say how many there are. */
function missingShard(names: readonly string[]): string | undefined {
  const [, digits = '', total] =
    names.map((name) => /^model-(\d+)-of-(\d+)/.exec(name)).find((found) => found) ?? [];
  if (total === undefined) return undefined;
  return Array.from(
    { length: Number(total) },
    (_, index) => `model-${String(index + 1).padStart(digits.length, '0')}-of-${total}.safetensors`,
  ).find((name) => !names.includes(name));
}
