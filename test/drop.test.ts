/** `poll` and `drop`: a page that has stopped watching lets go of its script request, on whatever node that is held. */
import { describe, expect, test } from 'vitest';
import { held, poll, service as serviceOf, set, until } from './harness.js';
import { raw, request } from './raw.js';
import { stores } from './stores.js';

const TIMEOUT = { code: -1, message: 'timeout', cursor: expect.any(String) };
const newKey = () => `k${Math.random().toString(36).slice(2)}`;

describe.each(stores)('over $name', store => {
  test('the poll is answered -1 at once, and so is the request that drops it; the key is watched no more', async () => {
    const { publicUrl, internalUrl } = await serviceOf(await store.settings());
    const key = newKey();
    const asked = poll(publicUrl, { key, poll: 'tagwait_12w0' });
    const other = poll(publicUrl, { key: `${key}-2`, poll: 'tagwait_12w0' });
    await held(internalUrl, key, 1);
    await held(internalUrl, `${key}-2`, 1);
    expect(await poll(publicUrl, { key, drop: 'tagwait_12w0' })).toEqual(TIMEOUT);
    expect(await asked).toEqual(TIMEOUT);
    expect((await set(internalUrl, { key, value: 1 })).body.watched).toBe(false);
    // a drop is answered -1 whatever there is to hear: its page does not listen
    expect(await poll(publicUrl, { key, drop: 'tagwait_12w0' })).toEqual(TIMEOUT);
    expect((await set(internalUrl, { key: `${key}-2`, value: 2 })).body.watched).toBe(true);
    expect(await other).toMatchObject({ code: 0, data: 2 });
  });

  test('no other poll of the key is dropped: of another name, of none, or of another address', async () => {
    const { publicUrl, internalUrl } = await serviceOf(await store.settings());
    const key = newKey();
    const hold = (query: string, from = '127.0.0.1') =>
      raw(publicUrl, request(`/status/get?key=${key}${query}`), from);
    const pages = [hold('&poll=another'), hold(''), hold('&poll=name', '127.0.0.2')];
    await held(internalUrl, key, 3);
    expect(await poll(publicUrl, { key, drop: 'name' })).toEqual(TIMEOUT);
    await held(internalUrl, key, 3);
    await set(internalUrl, { key, value: 'for all' });
    await until(() => pages.every(page => page.text.includes('"data":"for all"')));
  });
});

test.each(stores.filter(({ name }) => name !== 'the embedded store'))(
  'over $name: a poll that another node holds',
  async store => {
    const settings = await store.settings();
    const here = await serviceOf(settings);
    const there = await serviceOf(settings);
    const key = newKey();
    const asked = poll(there.publicUrl, { key, poll: 'name' });
    await held(here.internalUrl, key, 1);
    expect(await poll(here.publicUrl, { key, drop: 'name' })).toEqual(TIMEOUT);
    expect(await asked).toEqual(TIMEOUT);
  },
);
