import type { Engine } from './engine.js';

/**
 * Scores and continues one token, so that an operator without a kernel for the device is known before anybody asks for work:
 * the first run of each pass proves where it ran. Training is proven by its first step.
 * @throws LmError `EXECUTION_PROVIDER_UNAVAILABLE` naming the operators.
 */
export async function rehearse(engine: Engine): Promise<void> {
  await engine.score([{ prompt: [0], target: [0] }], false);
  const options = { maxTokens: 2, stopTokens: [] };
  for (const temperature of [0, 1])
    await engine.generate([{ prompt: [0], seed: 0 }], { ...options, temperature }, {});
}
