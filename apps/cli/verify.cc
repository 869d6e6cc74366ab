// precis verify: the engine against a file of expected values.
#include "precis/verify.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct VerifyFlags {
  ModelFlags model;
  OutputFlags output;
  std::string expected;
  bool per_layer = false;
};

Result<VerifyOptions> verify_options(const VerifyFlags& flags) {
  VerifyOptions options;
  PRECIS_ASSIGN_OR_RETURN(options.model, model_path(flags.model));
  PRECIS_ASSIGN_OR_RETURN(options.n_threads, thread_count(flags.model.threads));
  if (!flags.model.chunk.empty()) {
    PRECIS_ASSIGN_OR_RETURN(options.chunk_tokens, parse_int_size("--chunk", flags.model.chunk));
  }
  options.expected = flags.expected;
  options.backend = flags.model.backend;
  options.per_layer = flags.per_layer;
  return options;
}

Json report_json(const VerifyReport& report, bool per_layer) {
  Json out = {{"end_to_end",
               {{"logits_rel_median", report.end_to_end.logits_rel_median},
                {"logits_rel_p99", report.end_to_end.logits_rel_p99},
                {"argmax_agree", report.end_to_end.argmax_agree},
                {"topk_overlap", report.end_to_end.topk_overlap}}}};
  if (per_layer) {
    out["per_layer"] = Json::array();
    for (const LayerVerify& layer : report.per_layer) {
      out["per_layer"].push_back({{"layer", layer.layer},
                                  {"attn_out_rel_median", layer.attn_out_rel_median},
                                  {"ffn_out_rel_median", layer.ffn_out_rel_median},
                                  {"rows_differ", layer.rows_differ},
                                  {"index_rows_differ", layer.index_rows_differ},
                                  {"topk_overlap", layer.topk_overlap},
                                  {"streams_rel_median", layer.streams_rel_median}});
    }
  }
  if (report.has_mtp) out["mtp"] = {{"logits_rel_median", report.mtp_logits_rel_median}};
  out["pass"] = report.pass();
  return out;
}

void print_report(const VerifyReport& report, bool per_layer) {
  fmt::print("end to end\n");
  fmt::print("  logits, relative error      median {:.2e}, 99th percentile {:.2e}\n",
             report.end_to_end.logits_rel_median, report.end_to_end.logits_rel_p99);
  fmt::print("  most likely token agrees    {:.2f} %\n", 100 * report.end_to_end.argmax_agree);
  fmt::print("  selected rows that overlap  {:.3f} %\n", 100 * report.end_to_end.topk_overlap);
  if (report.has_mtp) {
    fmt::print("  MTP logits                  median {:.2e}\n", report.mtp_logits_rel_median);
  }
  if (per_layer) {
    Table table({{"layer"},
                 {"attention"},
                 {"experts"},
                 {"rows differ"},
                 {"index rows differ"},
                 {"selection overlap"},
                 {"streams"}});
    for (const LayerVerify& layer : report.per_layer) {
      table.add({fmt::format("{}", layer.layer), fmt::format("{:.1e}", layer.attn_out_rel_median),
                 fmt::format("{:.1e}", layer.ffn_out_rel_median),
                 fmt::format("{:.3f} %", 100 * layer.rows_differ),
                 fmt::format("{:.3f} %", 100 * layer.index_rows_differ),
                 fmt::format("{:.3f} %", 100 * layer.topk_overlap),
                 fmt::format("{:.1e}", layer.streams_rel_median)});
    }
    fmt::print(
        "\neach layer on its expected input (limits: {:.0e} relative, {:g} % of rows, {:g} % "
        "overlap)\n{}",
        VerifyLimits::kLayerRel, 100 * VerifyLimits::kRowsDiffer, 100 * VerifyLimits::kTopkOverlap,
        table.text());
  }
  fmt::print("\n");
  for (const std::string& failure : report.failures) fmt::print("missed: {}\n", failure);
  fmt::print("{}\n", report.pass() ? "PASS" : "FAIL");
}

int run(const VerifyFlags& flags) {
  const Result<VerifyOptions> options = verify_options(flags);
  if (!options) return report(options.error(), flags.output.format());
  const Result<VerifyReport> verified = verify(*options);
  if (!verified) return report(verified.error(), flags.output.format());
  if (flags.output.json) {
    print_json(report_json(*verified, flags.per_layer));
  } else {
    print_report(*verified, flags.per_layer);
  }
  return verified->pass() ? kOk : kTestFailed;
}

}  // namespace

void add_verify(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App& command = add_command(
      app, "verify",
      "Runs a checkpoint against expected activations and logits, and judges every difference.\n"
      "Exit code 0 only if all limits hold.",
      "  precis verify -m DIR --expected expected.safetensors --per-layer\n"
      "  precis verify -m DIR --expected expected.safetensors --chunk 7 --backend ref --json\n");
  add_model_flag(command, flags->model);
  command.add_option("--expected", flags->expected, "Safetensors file of expected values")
      ->required()
      ->type_name("FILE");
  command.add_flag("--per-layer", flags->per_layer, "Also every layer on its expected input");
  command
      .add_option("--chunk", flags->model.chunk, "Prefill in steps of N tokens (default: one step)")
      ->type_name("TOKENS");
  command.add_option("--backend", flags->model.backend, "auto, cpu, cuda or ref")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_option("--threads", flags->model.threads, "Threads (default: every processor)")
      ->type_name("N");
  command.add_flag("--json", flags->output.json, "One JSON object on stdout");
  command.callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace precis::cli
