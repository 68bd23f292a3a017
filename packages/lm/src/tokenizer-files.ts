import { join } from 'node:path';
import { readJsonFile, readOptionalJsonFile, readTextFile } from './config-json.js';

/** Four times the largest published tokenizer.json, that of Gemma 3. */
const maxTokenizerBytes = 128 << 20;
/** The largest lists every added token again. */
const maxTokenizerConfigBytes = 16 << 20;
const maxTemplateBytes = 1 << 20;

/** The parsed files of a model folder that turn text into tokens and back. */
export interface TokenizerFiles {
  /** tokenizer.json. */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json, with the content of chat_template.jinja, where there is one, as its `chat_template`. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
  /** generation_config.json; empty when absent. */
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** Where they came from, for error messages. */
  readonly folder: string;
}

/**
 * Reads the tokenizer of a Hugging Face model folder. Only tokenizer.json must exist.
 * @throws LmError `FILE_MISSING`, `FILE_UNREADABLE` or `JSON_INVALID`, naming the file.
 */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  const tokenizer = readJsonFile(join(folder, 'tokenizer.json'), maxTokenizerBytes);
  const configPath = join(folder, 'tokenizer_config.json');
  const tokenizerConfig = readOptionalJsonFile(configPath, maxTokenizerConfigBytes) ?? {};
  // transformers 5 keeps the template in a file of its own, which takes precedence.
  const template = readTextFile(join(folder, 'chat_template.jinja'), maxTemplateBytes);
  return {
    tokenizer,
    tokenizerConfig: template === null ? tokenizerConfig : { ...tokenizerConfig, chat_template: template },
    generationConfig: readOptionalJsonFile(join(folder, 'generation_config.json')) ?? {},
    folder,
  };
}
