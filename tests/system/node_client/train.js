// Drives a coordinator from Node with the stock gRPC client and nothing but the .proto files:
//   node train.js HOST:PORT PROTO_DIR DATA_URI TARGET MODEL_FILE
// Prints one JSON object: the finished job, what was seen on the way, and what reflection and health answer.
const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, protos, data, target, modelFile] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [protos] };
const load = (file) => grpc.loadPackageDefinition(loader.loadSync(file, options));
const { JobService } = load("gradloom/v1/job_service.proto").gradloom.v1;
const { ClusterService } = load("gradloom/v1/cluster_service.proto").gradloom.v1;

const insecure = grpc.credentials.createInsecure();
const jobs = new JobService(address, insecure);
const cluster = new ClusterService(address, insecure);
const call = (client, method, request) =>
  new Promise((resolve, reject) =>
    client[method](request, { deadline: Date.now() + 30000 }, (error, reply) => (error ? reject(error) : resolve(reply))),
  );

async function main() {
  const spec = { algorithm: "logistic", data: { uris: [data], target }, test_fraction: 0.2, settings: { l2: "0.01" } };
  const token = "node-client";
  const first = (await call(jobs, "SubmitJob", { spec, client_token: token })).job;
  const again = (await call(jobs, "SubmitJob", { spec, client_token: token })).job;

  const events = [];
  for await (const reply of jobs.WatchJob({ job_id: first.job_id })) events.push(reply.event);
  const { job } = await call(jobs, "GetJob", { job_id: first.job_id });

  const chunks = [];
  for await (const reply of jobs.GetModel({ job_id: first.job_id })) chunks.push(reply.chunk);
  fs.writeFileSync(modelFile, Buffer.concat(chunks));

  const rows = { rows: 2, columns: 30, numbers: Array.from({ length: 60 }, (_, i) => (i < 30 ? 1 : 1000)) };
  const { predictions } = await call(jobs, "Query", { job_id: first.job_id, rows });
  const { probabilities } = await call(jobs, "Query", { job_id: first.job_id, rows, ask: "ASK_PROBABILITIES" });

  const { workers } = await call(cluster, "ListWorkers", {});
  const refusal = await call(jobs, "SubmitJob", { spec: { ...spec, algorithm: "logistik" } }).catch((error) => error);
  const sequences = events.map((event) => event.sequence);
  console.log(
    JSON.stringify({
      job,
      same_job: again.job_id === first.job_id,
      sequences_have_no_gap: sequences.every((sequence, i) => sequence === i + 1),
      rounds_seen: events.filter((event) => event.kind === "round_completed").length,
      workers: workers.map((worker) => worker.worker),
      predicted: predictions.labels,
      probabilities: [0, 1, 2, 3].map((i) => probabilities.values.readDoubleLE(8 * i)),
      refusal: { code: refusal.code, message: refusal.details },
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
