#!/usr/bin/env node
import { runService } from '@parley/runtime';
import { startCoordinator } from './app.js';
import { COORDINATOR_FIELDS } from './config.js';

await runService({ name: 'coordinator', fields: COORDINATOR_FIELDS, start: startCoordinator });
