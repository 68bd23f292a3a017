import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { STREAM_SUBJECTS, filters, nameToken, streamOf, subjects } from './subjects.js';

/** NATS matching: `*` is one token, `>` the rest. */
function matches(filter: string, subject: string): boolean {
  const [wanted, found] = [filter.split('.'), subject.split('.')];
  return wanted.length === found.length && wanted.every((token, i) => token === '*' || token === found[i]);
}

const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const index = fc.nat();

test('every subject belongs to exactly one stream and to its filters', () => {
  fc.assert(
    fc.property(name, name, index, (run, peer, n) => {
      const made: [string, string, string[]][] = [
        [subjects.prompts(run), 'PROMPTS', []],
        [subjects.generated(run, n), 'ROUNDS', [filters.generated(), filters.generated(run)]],
        [subjects.scored(run, n), 'ROUNDS', [filters.scored(), filters.scored(run)]],
        [
          subjects.update(peer, run, n),
          'UPDATES',
          [filters.updates(peer), filters.updates(peer, run), filters.updatesOfRun(run)],
        ],
        [subjects.version(peer, n), 'VERSIONS', [filters.versions(), filters.versions(peer)]],
        [
          subjects.event(run, 'metric', 'pmi'),
          'EVENTS',
          [filters.events(), filters.events(run), filters.events(undefined, 'metric')],
        ],
        [subjects.event(undefined, 'metric', 'peer-ant'), 'EVENTS', [filters.events()]],
      ];
      for (const [subject, stream, filterList] of made) {
        const streams = Object.entries(STREAM_SUBJECTS).filter(([, pattern]) => matches(pattern, subject));
        assert.deepEqual(
          streams.map(([found]) => found),
          [stream],
        );
        assert.equal(streamOf(subject), stream);
        assert.ok(
          filterList.every((filter) => matches(filter, subject)),
          subject,
        );
      }
    }),
  );
  assert.ok(!matches(filters.scored(), subjects.generated('r', 1)));
  assert.throws(() => streamOf('parley.rounds.generated.r'), { reason: 'NAME_INVALID' });
});

test('a name with anything else is refused, by kind and rule', () => {
  const bad = fc.string().filter((text) => !/^[A-Za-z0-9_-]{1,64}$/.test(text));
  fc.assert(
    fc.property(bad, (text) => assert.throws(() => nameToken('run id', text), { reason: 'NAME_INVALID' })),
  );
  for (const text of ['a.b', '*', '>', '', 'a b', 'x'.repeat(65), 'é']) {
    assert.throws(() => subjects.prompts(text), {
      message: /The run id ".*" is not 1 to 64 characters of A-Z a-z 0-9 _ -; choose/,
    });
  }
  assert.throws(() => subjects.generated('r', -1), {
    reason: 'NAME_INVALID',
    message: /round -1 is negative/,
  });
});
