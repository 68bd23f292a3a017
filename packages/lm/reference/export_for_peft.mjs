// Trains the fixtures' adapters a little and writes what check_peft_export.py holds against PEFT and transformers:
//   node packages/lm/reference/export_for_peft.mjs OUT
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  loadLanguageModel,
  loadPeftAdapter,
  readModelConfig,
  saveCheckpoint,
  savePeftAdapter,
} from '@parley/lm';

const [out] = process.argv.slice(2);
const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));
const settings = {
  learningRate: 2e-3,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};

for (const name of ['llama', 'qwen2', 'gemma2', 'qwen3', 'mistral']) {
  const folder = `${fixtures}/models/${name}`;
  const config = readModelConfig(folder);
  const { trainable, weights } = loadPeftAdapter(`${fixtures}/adapters/${name}`, config);
  const model = await loadLanguageModel({ folder, trainable });
  await model.importState({ weights });
  const { batches } = JSON.parse(readFileSync(`${fixtures}/golden/${name}.json`, 'utf8'));
  for (const batch of batches.slice(0, 5)) {
    const sequences = batch.map(({ ids, targetStart, weight }) => ({
      prompt: ids.slice(0, targetStart),
      target: ids.slice(targetStart),
      weight,
    }));
    await model.trainStep(sequences, settings);
  }
  const state = await model.exportState();
  savePeftAdapter(`${out}/${name}/adapter`, { config, trainable, weights: state.weights, baseModel: folder });
  const merged = await model.exportMerged();
  const tensors = new Map([...merged].map(([key, { data }]) => [key, data]));
  saveCheckpoint(`${out}/${name}/merged`, { config, tensors });

  // Log-probabilities of every token after a few prompts.
  const prompts = batches.slice(0, 3).map(([{ ids }]) => ids);
  const everyToken = Array.from({ length: config.vocabSize }, (_, token) => token);
  const logProbs = [];
  for (const prompt of prompts) {
    const scores = await model.score(everyToken.map((token) => ({ prompt, target: [token] })));
    logProbs.push(scores.map(({ logProb }) => logProb));
  }
  mkdirSync(`${out}/${name}`, { recursive: true });
  writeFileSync(`${out}/${name}/scores.json`, JSON.stringify({ base: folder, prompts, logProbs }));
  await model.close();
}
