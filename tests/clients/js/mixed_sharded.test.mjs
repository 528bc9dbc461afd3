// The tests of mixed_cluster.test.mjs with the sharded adapter, in its mode "static", in place of the pub/sub adapter.
process.env.MIXED_ADAPTER = "sharded";
await import("./mixed_cluster.test.mjs");
