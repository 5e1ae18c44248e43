// Lints the committed contracts. Any finding fails, be it an error or a hint. Asks nobody on the network.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chdir } from 'node:process';
import { Parser } from '@asyncapi/parser';
import { Ajv } from 'ajv';

const OPENAPI = '../../openapi/openapi.json';
const ASYNCAPI = '../../openapi/asyncapi.json';

/** Runs a tool of this project; what it finds, it says itself. */
function spectral(document) {
  const args = ['lint', '--ruleset', 'spectral.yaml', '--fail-severity', 'hint', '--fail-on-unmatched-globs', document];
  return spawnSync('node_modules/.bin/spectral', args, { stdio: 'inherit' }).status === 0;
}

/** Its exit code tells of errors alone. */
function redocly(document) {
  const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const args = ['lint', '--extends', 'recommended', '--format', 'json', document];
  const { stdout } = spawnSync('node_modules/.bin/redocly', args, { env, encoding: 'utf8' });
  const { problems } = JSON.parse(stdout);
  for (const { ruleId, message, location } of problems) {
    console.error(`${document}${location[0]?.pointer ?? ''}: ${ruleId}: ${message}`);
  }
  return problems.length === 0;
}

async function asyncapi(document) {
  const findings = await new Parser().validate(readFileSync(document, 'utf8'));
  for (const { code, message, path } of findings) {
    console.error(`${document}#/${path.join('/')}: ${code}: ${message}`);
  }
  return findings.length === 0;
}

/** The linters read examples as they are; here each is held against the schema of its message. */
function examples(document) {
  const { channels, components } = JSON.parse(readFileSync(document, 'utf8'));
  // What keywords there are is the linters' affair, and formats such as `double` are none of JSON's.
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'document', components });
  let wrong = 0;
  for (const [id, { messages }] of Object.entries(channels)) {
    for (const { payload, examples } of Object.values(messages)) {
      const fits = ajv.compile({ $ref: `document${payload.$ref}` });
      for (const { name, payload } of examples) {
        if (fits(payload)) continue;
        wrong += 1;
        console.error(`${document}#/channels/${id}: ${name}: ${ajv.errorsText(fits.errors)}`);
      }
    }
  }
  return wrong === 0;
}

chdir(import.meta.dirname);
const lints = [
  ['spectral', OPENAPI, spectral],
  ['redocly', OPENAPI, redocly],
  ['spectral', ASYNCAPI, spectral],
  ['@asyncapi/parser', ASYNCAPI, asyncapi],
  ['ajv', ASYNCAPI, examples],
];
let failed = false;
for (const [tool, document, lint] of lints) {
  console.log(`-- ${tool}: ${document}`);
  if (!(await lint(document))) failed = true;
}
process.exit(failed ? 1 : 0);
