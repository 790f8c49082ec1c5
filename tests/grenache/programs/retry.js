// What grenache-nodejs-link's cache and retry do around a Grape that comes late, and one that goes.
// Usage: node retry.js http://grape; prints a line of JSON at each step, goes on at each line it is told.
'use strict'
const Link = require('grenache-nodejs-link')
const steps = require('readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]()

const link = new Link({ grape: process.argv[2], requestTimeout: 10000, lruMaxAgeLookup: 60000 }).start()
const call = (method, ...args) => new Promise(resolve =>
  link[method](...args, (err, res) => resolve({ err: err ? err.code || err.message : null, res: err ? null : res })))
const say = async (seen) => {
  console.log(JSON.stringify(seen))
  await steps.next()
}

async function main () {
  await say({ refused: await call('announce', 'svc', 1337, { retry: 2 }) })
  // The Grape is told to start while this one is retried.
  const late = call('announce', 'svc', 1337, { retry: 1e9 })
  await say({ retrying: true })
  await say({ late: await late, lookup: await call('lookup', 'svc', {}) })
  // The service moved meanwhile: what was cached is handed out, what was not is asked.
  const cached = await call('lookup', 'svc', {})
  link.cache.lookup.clear()
  await say({ cached, asked: await call('lookup', 'svc', {}) })
  // The Grape is gone: the cache still answers, the rest is an error.
  await say({ cachedWithoutGrape: await call('lookup', 'svc', {}), other: await call('lookup', 'other', {}) })
  link.stop()
  process.exit()
}
main()
