// precis inspect: what a checkpoint holds and what it will take, without loading its weights.
#include "precis/inspect.h"

#include <array>

#include <fmt/format.h>

#include "precis/host.h"

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct InspectFlags {
  ModelFlags model;
  OutputFlags output;
  std::string directory;
  bool tensors = false;
};

// Without --ctx the report is for the longest of these contexts that the model allows.
constexpr std::array<std::int64_t, 3> kDefaultContexts = {1 << 20, 128 << 10, 4 << 10};

Result<CheckpointReport> inspect(const InspectFlags& flags) {
  ModelFlags model = flags.model;
  if (!flags.directory.empty()) model.model = flags.directory;
  PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path path, model_path(model));
  if (!flags.model.context.empty()) {
    PRECIS_ASSIGN_OR_RETURN(const std::int64_t n_tokens, parse_size("--ctx", flags.model.context));
    return inspect_checkpoint(path, n_tokens);
  }
  for (const std::int64_t n_tokens : kDefaultContexts) {
    auto report = inspect_checkpoint(path, n_tokens);
    if (report.ok() || report.error().code != ErrorCode::kInvalidArgument) return report;
  }
  return inspect_checkpoint(path, 0);
}

Json kinds_json(const std::vector<BytesByKind>& kinds) {
  Json out = Json::array();
  for (const BytesByKind& kind : kinds) {
    out.push_back({{"kind", kind.kind},
                   {"tensors", kind.n_tensors},
                   {"bytes", kind.n_bytes},
                   {"parameters", kind.n_parameters}});
  }
  return out;
}

Json report_json(const CheckpointReport& report, bool with_tensors) {
  Json out = {{"name", report.name},
              {"complete", report.complete()},
              {"tensors", report.n_tensors},
              {"bytes", report.n_bytes},
              {"parameters", report.n_parameters},
              {"mtp_parameters", report.n_mtp_parameters},
              {"shards", report.n_shards},
              {"by_kind", kinds_json(report.by_kind)},
              {"by_dtype", kinds_json(report.by_dtype)}};
  out["layers"] = Json::array();
  for (const LayerSummary& layer : report.layers) {
    out["layers"].push_back({{"layer", layer.layer},
                             {"mtp", layer.mtp},
                             {"kind", layer.kind},
                             {"ratio", layer.ratio},
                             {"routing", layer.routing},
                             {"rope_theta", layer.rope_theta},
                             {"yarn", layer.yarn},
                             {"bytes", layer.n_bytes}});
  }
  out["missing"] = report.missing;
  out["unexpected"] = report.unexpected;
  out["wrong"] = report.wrong;
  out["published"] = Json::array();
  for (const PublishedTotals& published : report.published) {
    out["published"].push_back({{"name", published.name},
                                {"tensors", published.n_tensors},
                                {"bytes", published.n_bytes},
                                {"matches", published.matches}});
  }
  out["kv"] = {{"tokens", report.kv_tokens},
               {"sparse_rows", report.kv.sparse_rows},
               {"index_rows", report.kv.index_rows},
               {"heavy_rows", report.kv.heavy_rows},
               {"window", report.kv.window},
               {"state", report.kv.state},
               {"total", report.kv.total()},
               {"bytes_per_token", report.kv_bytes_per_token},
               {"dense_mha_bf16", report.kv_comparison.dense_mha_bf16},
               {"v32_rows", report.kv_comparison.v32_rows}};
  if (with_tensors) {
    out["tensor_list"] = Json::array();
    for (const TensorSummary& tensor : report.tensors) {
      out["tensor_list"].push_back({{"name", tensor.name},
                                    {"dtype", tensor.dtype},
                                    {"shape", tensor.shape},
                                    {"bytes", tensor.n_bytes},
                                    {"shard", tensor.shard}});
    }
  }
  return out;
}

void print_kinds(const char* title, const std::vector<BytesByKind>& kinds) {
  Table table({{title, Table::Align::kLeft}, {"tensors"}, {"parameters"}, {"bytes"}});
  for (const BytesByKind& kind : kinds) {
    table.add({kind.kind, format_count(kind.n_tensors), format_count(kind.n_parameters),
               format_bytes(kind.n_bytes)});
  }
  fmt::print("\n{}", table.text());
}

void print_layers(const std::vector<LayerSummary>& layers) {
  using Align = Table::Align;
  Table table({{"layer"},
               {"attention", Align::kLeft},
               {"ratio"},
               {"routing", Align::kLeft},
               {"rope theta"},
               {"yarn", Align::kLeft},
               {"bytes"}});
  for (const LayerSummary& layer : layers) {
    table.add({layer.mtp ? "mtp" : fmt::format("{}", layer.layer), layer.kind,
               layer.ratio == 0 ? "" : fmt::format("{}", layer.ratio), layer.routing,
               fmt::format("{:g}", layer.rope_theta), layer.yarn ? "yes" : "no",
               format_bytes(layer.n_bytes)});
  }
  fmt::print("\n{}", table.text());
}

void print_kv(const CheckpointReport& report) {
  const std::string title = fmt::format("KV cache of {} tokens", format_count(report.kv_tokens));
  Table table({{title, Table::Align::kLeft}, {"bytes"}, {"of ours"}});
  const auto add = [&](const char* name, std::int64_t n_bytes) {
    const double share = static_cast<double>(n_bytes) / static_cast<double>(report.kv.total());
    table.add({name, format_bytes(n_bytes), fmt::format("{:.3g}x", share)});
  };
  add("sparse rows (ratio 4)", report.kv.sparse_rows);
  add("index rows", report.kv.index_rows);
  add("heavy rows (ratio 128)", report.kv.heavy_rows);
  add("windows", report.kv.window);
  add("compressor states", report.kv.state);
  add("total", report.kv.total());
  add("DeepSeek-V3.2 rows, same layers", report.kv_comparison.v32_rows);
  add("dense attention in bf16, same heads", report.kv_comparison.dense_mha_bf16);
  fmt::print("\n{}grows by {:.1f} bytes a token\n", table.text(), report.kv_bytes_per_token);
}

void print_tensors(const std::vector<TensorSummary>& tensors) {
  Table table({{"tensor", Table::Align::kLeft},
               {"dtype", Table::Align::kLeft},
               {"shape", Table::Align::kLeft},
               {"bytes"},
               {"shard", Table::Align::kLeft}});
  for (const TensorSummary& tensor : tensors) {
    table.add({tensor.name, tensor.dtype, fmt::format("[{}]", fmt::join(tensor.shape, ", ")),
               format_count(tensor.n_bytes), tensor.shard});
  }
  fmt::print("\n{}", table.text());
}

void print_findings(const CheckpointReport& report) {
  for (const std::string& name : report.missing) fmt::print("missing     {}\n", name);
  for (const std::string& name : report.wrong) fmt::print("wrong       {}\n", name);
  for (const std::string& name : report.unexpected) fmt::print("unexpected  {}\n", name);
  for (const PublishedTotals& published : report.published) {
    fmt::print("{} {}: {} tensors, {} bytes\n", published.matches ? "equals" : "differs from",
               published.name, format_count(published.n_tensors), format_count(published.n_bytes));
  }
  fmt::print("{}\n", report.complete() ? "complete: every tensor the configuration calls for"
                                       : "NOT complete");
}

void print_report(const CheckpointReport& report, bool with_tensors) {
  fmt::print("{}: {} parameters ({} more in the MTP layer), {} tensors, {} in {} file{}\n",
             report.name, format_count(report.n_parameters), format_count(report.n_mtp_parameters),
             format_count(report.n_tensors), format_bytes(report.n_bytes), report.n_shards,
             report.n_shards == 1 ? "" : "s");
  print_kinds("kind", report.by_kind);
  print_kinds("dtype", report.by_dtype);
  print_layers(report.layers);
  if (report.kv_tokens > 0) print_kv(report);
  if (with_tensors) print_tensors(report.tensors);
  fmt::print("\n");
  print_findings(report);
}

// The processor's own line first; why there is no other device is no error here.
int run_devices(const OutputFlags& output) {
  const auto isa = cpu_instruction_set();
  if (!isa) return report(isa.error(), output.format());
  const auto devices = list_devices();
  if (output.json) {
    Json list = Json::array();
    list.push_back({{"id", "cpu"}, {"isa", *isa}, {"processors", available_processors()}});
    for (const DeviceInfo& device : devices ? *devices : std::vector<DeviceInfo>()) {
      list.push_back({{"id", device.id},
                      {"name", device.name},
                      {"isa", device.isa},
                      {"multiprocessors", device.n_multiprocessors},
                      {"bytes", device.total_bytes},
                      {"free_bytes", device.free_bytes},
                      {"supported", device.supported}});
    }
    print_json(list);
    return kOk;
  }
  fmt::print("cpu     {}, {} processors\n", *isa, available_processors());
  if (!devices) fmt::print("{}\n", devices.error().message);
  for (const DeviceInfo& device : devices ? *devices : std::vector<DeviceInfo>()) {
    fmt::print("{}  {}, {}, {} multiprocessors, {} of {} free{}\n", device.id, device.name,
               device.isa, device.n_multiprocessors, format_bytes(device.free_bytes),
               format_bytes(device.total_bytes),
               device.supported ? "" : " (not supported: want compute 9.0)");
  }
  return kOk;
}

int run(const InspectFlags& flags) {
  if (flags.directory == "devices") return run_devices(flags.output);
  const Result<CheckpointReport> checkpoint = inspect(flags);
  if (!checkpoint) return report(checkpoint.error(), flags.output.format());
  if (flags.output.json) {
    print_json(report_json(*checkpoint, flags.tensors));
  } else {
    print_report(*checkpoint, flags.tensors);
  }
  return checkpoint->complete() ? kOk : kCorruptInput;
}

}  // namespace

void add_inspect(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App& command = add_command(
      app, "inspect",
      "Shows what a checkpoint holds, and checks every tensor against its configuration.\n"
      "Reads headers only: a checkpoint of hundreds of gigabytes takes no longer.",
      "  precis inspect                       the bundled model\n"
      "  precis inspect devices               the processor and GPUs of this machine\n"
      "  precis inspect DIR --ctx 1M          its KV cache at a million tokens\n"
      "  precis inspect DIR --tensors --json  everything, for a program\n");
  command.add_option("DIR", flags->directory,
                     "Checkpoint directory (default: as --model), or devices");
  add_model_flag(command, flags->model);
  command
      .add_option("--ctx", flags->model.context,
                  "Context of the KV figures (default: the longest of 1M, 128K, 4K it allows)")
      ->type_name("TOKENS");
  command.add_flag("--tensors", flags->tensors, "List every tensor");
  add_output_flags(command, flags->output);
  command.callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace precis::cli
