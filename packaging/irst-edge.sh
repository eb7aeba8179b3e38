#!/bin/sh
exec /usr/lib/irst-edge/bin/node /usr/lib/irst-edge/dist/cli.js "$@"
