// The tests of mixed_cluster.test.mjs with the streams adapter in place of the pub/sub adapter.
process.env.MIXED_ADAPTER = "streams";
await import("./mixed_cluster.test.mjs");
