// A publisher and a subscriber over WebSockets that find each other through two Grapes: prints what was heard.
// Usage: node pubsub.js http://a http://b port
'use strict'
const Link = require('grenache-nodejs-link')
const { PeerPub, PeerSub } = require('grenache-nodejs-ws')

const [a, b] = process.argv.slice(2, 4).map(grape => new Link({ grape, requestTimeout: 10000 }).start())
const pub = new PeerPub(a, {})
pub.init()
const channel = pub.transport('server')
channel.listen(Number(process.argv[4]))
a.startAnnouncing('ticks', channel.port, {}, err => {
  if (err) throw err
  const sub = new PeerSub(b, {})
  sub.init()
  sub.on('connected', () => channel.pub('tick'))
  sub.on('message', message => {
    console.log(JSON.stringify({ heard: String(message) }))
    process.exit()
  })
  sub.sub('ticks', {})
})
