// The types of the pages' operations, made from `../schema.graphql` and `src/dashboard/**/*.graphql`, and a check of
// GraphiQL's examples. An operation that the schema does not allow ends the build.

import { codegen } from '@graphql-codegen/core';
import * as operations from '@graphql-codegen/typescript-operations';
import * as documents from '@graphql-codegen/typed-document-node';
import { buildASTSchema, parse, Source, validate } from 'graphql';
import fs from 'node:fs';
import path from 'node:path';

const HERE = import.meta.dirname;
const TYPES = path.join(HERE, 'generated/graphql.ts');
const EXAMPLES = path.join(HERE, 'src/graphiql/examples.graphql');
const CONFIG = {
  scalars: {
    DateTime: 'string',
    JSON: 'unknown',
    Seq: 'number',
    SessionId: 'string',
    Count: 'number',
    MathValue: 'number | boolean',
    Percent: 'number',
    Position: 'number',
    Ratio: 'number',
  },
  strictScalars: true,
  // An operation is a string with types: the page carries no GraphQL parser.
  documentMode: 'string',
  enumsAsTypes: true,
  skipTypename: true,
  useTypeImports: true,
};

const read = file => parse(new Source(fs.readFileSync(file, 'utf8'), path.relative(HERE, file)));
const filesUnder = (folder, ending) =>
  fs
    .readdirSync(path.join(HERE, folder), { recursive: true })
    .filter(file => file.endsWith(ending))
    .map(file => path.join(HERE, folder, file))
    .sort();

/** Two builds may write at the same time, and a watcher should see only what has changed. */
function replace(file, content) {
  if (fs.existsSync(file) && fs.readFileSync(file, 'utf8') === content) return;
  const draft = `${file}.${process.pid}`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(draft, content);
  fs.renameSync(draft, file);
}

const schema = read(path.join(HERE, '../schema.graphql'));

const wrong = validate(buildASTSchema(schema), read(EXAMPLES));
if (wrong.length > 0) {
  console.error(wrong.join('\n\n'));
  process.exit(1);
}

const types = await codegen({
  filename: TYPES,
  schema,
  documents: filesUnder('src/dashboard', '.graphql').map(file => ({ location: file, document: read(file) })),
  config: CONFIG,
  plugins: [{ operations: {} }, { documents: {} }],
  pluginMap: { operations, documents },
});
replace(TYPES, `// Made by codegen.mjs.\n${types}`);
