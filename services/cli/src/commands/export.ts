import { Command, InvalidArgumentError, Option } from 'commander';
import type { Cli } from '../cli.js';
import { exportFormats, exportModel } from '../export/export-model.js';
import type { ExportFormat } from '../export/export-model.js';
import { addJson, fromCwd, wholeNumber } from './common-options.js';

interface ExportOptions {
  model: string;
  from: string;
  out: string;
  format?: ExportFormat;
  atVersion?: number;
  alpha?: number;
  dtype: 'F32' | 'F16' | 'BF16';
  json?: boolean;
}

/** `parley export`. */
export function exportCommand(cli: Cli): Command {
  const command = new Command('export')
    .summary('write what a peer learnt as a PEFT adapter or a Hugging Face model')
    .description(
      "Takes trained weights from a peer's state folder, a snapshot or a PEFT adapter, and writes a folder that others " +
        'read: an adapter (adapter_config.json, adapter_model.safetensors) for PEFT, or the whole model with the adapter ' +
        'merged in. Needs no mesh; the state of a peer that runs may be read too.',
    )
    .requiredOption('--model <folder>', 'the Hugging Face folder of the model that was trained')
    .requiredOption(
      '--from <path>',
      "a peer's state folder (.parley/peers/NAME), a snapshot (a safetensors file), or a PEFT folder",
    )
    .requiredOption('--out <folder>', 'folder to write; new or empty')
    .addOption(
      new Option(
        '--format <format>',
        'peft, or merged: a whole model; peft unless all weights were trained',
      ).choices(exportFormats),
    )
    .option(
      '--at-version <number>',
      'version in a state folder that is still kept; the latest one unless given',
      wholeNumber(0),
    )
    .option('--alpha <number>', 'alpha of the adapter, for a snapshot, which does not say', positiveNumber)
    .addOption(
      new Option('--dtype <type>', 'how weights are stored').choices(['F32', 'F16', 'BF16']).default('F32'),
    );
  addJson(command, 'what was written');
  return command.action(async (options: ExportOptions) => {
    const { model, from, out, json, atVersion, ...choices } = options;
    const result = await exportModel({
      ...choices,
      ...(atVersion !== undefined && { version: atVersion }),
      model: fromCwd(cli, model),
      from: fromCwd(cli, from),
      out: fromCwd(cli, out),
    });
    cli.out(json ? JSON.stringify(result) : result.out);
    if (!json) cli.terminal.line(result.summary);
  });
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('give a number above 0');
}
