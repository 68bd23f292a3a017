#!/usr/bin/env node
// The `parley` command: runs what `npm run build` made.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  console.error('parley is not built yet: run `npm run build` in its folder, or `npm start` for the demo.');
  process.exitCode = 3;
}
