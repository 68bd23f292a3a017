import { createRandom, seedFrom } from '@parley/pst';
import { taskVocabulary, WORD_PROBLEMS, type Task } from '@parley/evaluation';
import { parameterShapes, parseModelConfig, type ModelConfig, type Tensor } from '@parley/lm';

/** Names of the demo's peers; the order is the run's order of answering. */
export const DEMO_PEERS = ['llama', 'qwen', 'gemma'] as const;

/** One of {@link DEMO_PEERS}. */
export type DemoPeer = (typeof DEMO_PEERS)[number];

const HIDDEN = 128;
const GEMMA_HEAD_DIM = 16;
const LLAMA_HEAD_DIM = 32;

/**
 * Heads of the Qwen2-like peer, in both cases of the same number of parameters. Following letters from list to list takes
 * more of them than arithmetic does: with four, it learns too slowly.
 */
function qwenHeads(task: Task) {
  return task.name === WORD_PROBLEMS.name
    ? { heads: 4, keyValueHeads: 2, dim: 32 }
    : { heads: 8, keyValueHeads: 4, dim: 16 };
}

/** The config.json of a task's peer: 0.4 to 0.5 million parameters of its architecture. */
export function demoConfig(task: Task, peer: DemoPeer): ModelConfig {
  const vocabulary = taskVocabulary(task);
  const qwen = qwenHeads(task);
  const id = (token: string) => vocabulary.indexOf(token);
  const common = {
    vocab_size: vocabulary.length,
    hidden_size: HIDDEN,
    num_hidden_layers: 2,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    head_dim: { llama: LLAMA_HEAD_DIM, qwen: qwen.dim, gemma: GEMMA_HEAD_DIM }[peer],
    bos_token_id: id('<bos>'),
    eos_token_id: id('<eos>'),
    pad_token_id: id('<pad>'),
    torch_dtype: 'float32',
  };
  const own = {
    llama: {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_act: 'silu',
      intermediate_size: 384,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      tie_word_embeddings: false,
    },
    qwen: {
      architectures: ['Qwen2ForCausalLM'],
      model_type: 'qwen2',
      hidden_act: 'silu',
      intermediate_size: 416,
      num_attention_heads: qwen.heads,
      num_key_value_heads: qwen.keyValueHeads,
      tie_word_embeddings: true,
    },
    gemma: {
      architectures: ['Gemma2ForCausalLM'],
      model_type: 'gemma2',
      hidden_activation: 'gelu_pytorch_tanh',
      intermediate_size: 416,
      num_attention_heads: 8,
      num_key_value_heads: 2,
      query_pre_attn_scalar: GEMMA_HEAD_DIM,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      sliding_window: 64,
      tie_word_embeddings: true,
    },
  };
  return parseModelConfig({ ...common, ...own[peer] }, `${peer} config`);
}

/** Periods at which the embedding of an ordered word turns; see {@link demoWeights}. */
const PERIODS = [2, 3, 4, 5, 7, 10, 14, 20, 33, 50, 70, 100, 140, 200];
const ORDER_AMPLITUDE = 1.5;

/**
 * Initial weights of a demo peer where the default (normal, one width for all) learns slowly: matrices have standard
 * deviation 1/√(inputs), half of that where they write to the residual stream, and the embeddings of the task's ordered
 * words start as cosines and sines of several periods, which makes arithmetic about four times faster to learn. An embedding
 * enters the residual stream with unit width; where it also serves as the output matrix, the final norm makes up for it.
 */
export function demoWeights(task: Task, config: ModelConfig, seed: bigint): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  const vocabulary = taskVocabulary(task);
  const ordered = task.orderedWords.map((word) => vocabulary.indexOf(word));
  const fan = config.hiddenSize ** -0.5;
  const embeddingScale = 1 / config.embeddingScale;
  for (const [name, shape] of parameterShapes(config)) {
    if (shape.length < 2) {
      const plainTied = config.tiedEmbeddings && config.embeddingScale === 1;
      if (name === 'model.norm.weight' && plainTied) {
        weights.set(name, { shape, data: new Float32Array(shape[0]).fill(fan) });
      }
      continue;
    }
    const random = createRandom(seedFrom(seed, 'initial-weights', name));
    const isTable = name === 'model.embed_tokens.weight' || name === 'lm_head.weight';
    const writesResidual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight');
    const table = name === 'lm_head.weight' ? fan : embeddingScale;
    const deviation = isTable ? table : shape[1] ** -0.5 * (writesResidual ? 0.5 : 1);
    const data = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal() * deviation);
    if (isTable) writeOrder(ordered, data, shape[1], deviation * ORDER_AMPLITUDE);
    weights.set(name, { shape, data });
  }
  return weights;
}

function writeOrder(rows: readonly number[], table: Float32Array, width: number, amplitude: number): void {
  rows.forEach((row, place) => {
    PERIODS.forEach((period, i) => {
      const angle = (2 * Math.PI * place) / period;
      table[row * width + i] = amplitude * Math.cos(angle);
      table[row * width + PERIODS.length + i] = amplitude * Math.sin(angle);
    });
  });
}
