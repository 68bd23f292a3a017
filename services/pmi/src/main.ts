#!/usr/bin/env node
import { runService } from '@parley/runtime';
import { startPmi } from './app.js';
import { PMI_FIELDS } from './config.js';

await runService({ name: 'pmi', fields: PMI_FIELDS, start: startPmi });
