// A plan as tables for people and as JSON for programs.
#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "cli/bench.h"
#include "cli/format.h"
#include "cli/plan.h"

namespace precis::cli {
namespace {

using Cell = std::function<std::string(const ContextPlan&)>;

std::string bytes(double n) {
  return format_bytes(static_cast<std::int64_t>(n));
}

// A table with one column a context.
class ByContext {
 public:
  ByContext(const Plan& plan, const std::string& title)
      : plan_(plan), table_(columns(plan, title)) {}

  void add(const std::string& label, const Cell& cell) {
    std::vector<std::string> cells{label};
    for (const ContextPlan& context : plan_.contexts) cells.push_back(cell(context));
    table_.add(std::move(cells));
  }
  void print() const { fmt::print("\n{}", table_.text()); }

 private:
  static std::vector<Table::Column> columns(const Plan& plan, const std::string& title) {
    std::vector<Table::Column> columns{{title, Table::Align::kLeft}};
    for (const ContextPlan& context : plan.contexts) {
      columns.push_back({short_size(context.n_tokens)});
    }
    return columns;
  }

  const Plan& plan_;
  Table table_;
};

using PartCell = std::function<std::string(const PartPlan&)>;

// A row for every part of the phase in which `counts` is not 0 throughout.
void add_parts(ByContext& table, const Plan& plan, PhasePlan ContextPlan::*phase,
               double PartPlan::*counts, const PartCell& cell) {
  const auto find = [&](const ContextPlan& context, const std::string& name) {
    const std::vector<PartPlan>& parts = (context.*phase).parts;
    const auto part = std::ranges::find(parts, name, &PartPlan::part);
    return part == parts.end() ? PartPlan{} : *part;
  };
  for (const PartPlan& part : (plan.contexts.back().*phase).parts) {
    const bool any = std::ranges::any_of(plan.contexts, [&](const ContextPlan& context) {
      return find(context, part.part).*counts > 0;
    });
    if (any) table.add(part.part, [&](const ContextPlan& c) { return cell(find(c, part.part)); });
  }
}

void print_weights(const Plan& plan) {
  const WeightPlan& weights = plan.weights;
  if (weights.exact) {
    fmt::print("{}, from {}: {} bytes in {} tensors\n\n", plan.model, plan.source,
               format_count(weights.n_bytes), format_count(weights.n_tensors));
  } else {
    fmt::print("{}, from {}: about {} of weights (products and embedding alone)\n\n", plan.model,
               plan.source, format_bytes(weights.n_bytes));
  }
  Table table({{"weights", Table::Align::kLeft}, {"bytes"}, {""}});
  for (const WeightPart& part : weights.parts) {
    table.add({part.part, format_count(part.n_bytes), format_bytes(part.n_bytes)});
  }
  fmt::print("{}", table.text());
}

void print_cache(const Plan& plan) {
  ByContext table(plan, "cache of one request");
  const auto add = [&](const char* label, std::int64_t KvBytes::*member) {
    const bool any = std::ranges::any_of(
        plan.contexts, [&](const ContextPlan& context) { return context.kv.*member > 0; });
    if (any) table.add(label, [&](const ContextPlan& c) { return format_bytes(c.kv.*member); });
  };
  add("rows read by selection (CSA)", &KvBytes::sparse_rows);
  add("index rows", &KvBytes::index_rows);
  add("rows read in full (HCA)", &KvBytes::heavy_rows);
  add("windows", &KvBytes::window);
  add("compressor states", &KvBytes::state);
  table.add("total", [](const ContextPlan& c) { return format_bytes(c.kv.total()); });
  table.add("rows alone, in bf16", [](const ContextPlan& c) { return bytes(c.kv_bf16_bytes); });
  table.print();
  fmt::print("grows by {:.2f} bytes a token\n", plan.kv_bytes_per_token);
}

void print_work(const PlanRequest& request, const Plan& plan) {
  const auto batch = static_cast<double>(request.batch);
  const int n_decimals = plan.contexts.front().decode_equivalent_flop < 1e9 ? 6 : 3;
  const auto giga = [&](double n) { return fmt::format("{:.{}f}", n / 1e9, n_decimals); };
  ByContext table(plan, "decode, equivalent GFLOP a token");
  add_parts(table, plan, &ContextPlan::decode, &PartPlan::equivalent_flop,
            [&](const PartPlan& part) { return giga(part.equivalent_flop / batch); });
  table.add("total", [&](const ContextPlan& c) { return giga(c.decode_equivalent_flop); });
  table.add("unweighted products",
            [&](const ContextPlan& c) { return giga(c.decode.flop().products() / batch); });
  table.add("prefill, equivalent GFLOP", [](const ContextPlan& c) {
    return fmt::format("{:.3e}", c.prefill.equivalent_flop() / 1e9);
  });
  table.print();
  fmt::print("definition: {}; element-wise work counts nothing\n", used_definition().name);
}

void print_time(const PlanRequest& request, const Plan& plan) {
  const Hardware& hardware = request.hardware;
  ByContext table(plan, fmt::format("time at least, {} x {}, batch {}", request.n_gpus,
                                    hardware.name, request.batch));
  add_parts(table, plan, &ContextPlan::decode, &PartPlan::seconds,
            [](const PartPlan& part) { return fmt::format("{:.4f} ms", 1e3 * part.seconds); });
  table.add("decode step", [](const ContextPlan& c) {
    return fmt::format("{:.4f} ms", 1e3 * c.decode.seconds());
  });
  table.add("decode, tokens/s at most",
            [](const ContextPlan& c) { return fmt::format("{:.1f}", c.decode_tok_per_s); });
  table.add("prefill of one request",
            [](const ContextPlan& c) { return fmt::format("{:.3g} s", c.prefill.seconds()); });
  table.add("prefill, tokens/s at most",
            [](const ContextPlan& c) { return fmt::format("{:.0f}", c.prefill_tok_per_s); });
  table.print();
  fmt::print("peaks: {} ({}); communication between devices is not counted\n", hardware.source,
             number_class_name(hardware.number_class));
}

std::string experts_off(const Placement& placement) {
  if (placement.fits || placement.n_experts == 0) return "-";
  if (placement.experts_off_card < 0) return "not enough";
  return fmt::format("{} of {}", placement.experts_off_card, placement.n_experts);
}

void print_placement(const Plan& plan) {
  ByContext table(plan, "memory");
  table.add("weights and caches",
            [](const ContextPlan& c) { return bytes(c.placement.needed_bytes); });
  table.add("usable (90 %)", [](const ContextPlan& c) { return bytes(c.placement.usable_bytes); });
  table.add("fits", [](const ContextPlan& c) { return c.placement.fits ? "yes" : "NO"; });
  table.add("devices needed",
            [](const ContextPlan& c) { return format_count(c.placement.n_gpus_needed); });
  table.add("largest batch",
            [](const ContextPlan& c) { return format_count(c.placement.max_batch); });
  table.add("longest context",
            [](const ContextPlan& c) { return format_count(c.placement.max_context); });
  table.add("or experts a layer in host memory",
            [](const ContextPlan& c) { return experts_off(c.placement); });
  table.print();
}

void print_comparisons(const Plan& plan) {
  ByContext table(plan, "compared with");
  const std::vector<Comparison>& first = plan.contexts.front().comparisons;
  for (std::size_t i = 0; i < first.size(); ++i) {
    table.add(first[i].model + ": work", [i](const ContextPlan& c) {
      return fmt::format("{:.2f} %", 100 * c.comparisons[i].flop_share);
    });
    table.add("  its cache, times ours", [i](const ContextPlan& c) {
      return fmt::format("{:.4g}x", c.comparisons[i].cache_factor);
    });
    table.add("  its cache",
              [i](const ContextPlan& c) { return bytes(c.comparisons[i].cache_bytes); });
    table.add("  its cache in bf16",
              [i](const ContextPlan& c) { return bytes(c.comparisons[i].cache_bf16_bytes); });
  }
  table.print();
  for (const Comparison& comparison : first) {
    fmt::print("{}: {}\n", comparison.model, comparison.assumption);
  }
  fmt::print("caches: rows and windows; compressor states are left out\n");
}

void print_definitions(const Plan& plan) {
  ByContext table(plan, "work against DeepSeek-V3.2 if …");
  const auto percent = [](double share) { return fmt::format("{:.2f} %", 100 * share); };
  table.add(used_definition().name + " (used)",
            [&](const ContextPlan& c) { return percent(c.comparisons.front().flop_share); });
  for (std::size_t i = 0; i < other_definitions().size(); ++i) {
    table.add(other_definitions()[i].name, [&, i](const ContextPlan& c) {
      return percent(c.comparisons.front().other_flop_shares[i]);
    });
  }
  table.print();
}

Json flop_json(const FlopByClass& flop) {
  return {{"fp8", flop.fp8}, {"fp4", flop.fp4},     {"bf16", flop.bf16},
          {"f32", flop.f32}, {"index", flop.index}, {"element", flop.element}};
}

Json phase_json(const PhasePlan& phase) {
  Json out = {{"flop", flop_json(phase.flop())},
              {"equivalent_flop", phase.equivalent_flop()},
              {"bytes", phase.bytes()},
              {"seconds", phase.seconds()},
              {"parts", Json::array()}};
  for (const PartPlan& part : phase.parts) {
    out["parts"].push_back({{"part", part.part},
                            {"flop", flop_json(part.flop)},
                            {"equivalent_flop", part.equivalent_flop},
                            {"bytes", part.bytes},
                            {"seconds", part.seconds}});
  }
  return out;
}

Json placement_json(const Placement& placement) {
  return {{"needed_bytes", placement.needed_bytes},
          {"usable_bytes", placement.usable_bytes},
          {"fits", placement.fits},
          {"devices_needed", placement.n_gpus_needed},
          {"max_batch", placement.max_batch},
          {"max_context", placement.max_context},
          {"experts_off_card", placement.experts_off_card}};
}

Json context_json(const ContextPlan& context) {
  Json out = {{"tokens", context.n_tokens},
              {"kv",
               {{"sparse_rows", context.kv.sparse_rows},
                {"index_rows", context.kv.index_rows},
                {"heavy_rows", context.kv.heavy_rows},
                {"window", context.kv.window},
                {"state", context.kv.state},
                {"total", context.kv.total()},
                {"rows_bf16", context.kv_bf16_bytes}}},
              {"decode", phase_json(context.decode)},
              {"prefill", phase_json(context.prefill)},
              {"decode_equivalent_flop_per_token", context.decode_equivalent_flop},
              {"decode_tok_per_s", context.decode_tok_per_s},
              {"prefill_tok_per_s", context.prefill_tok_per_s},
              {"placement", placement_json(context.placement)},
              {"comparisons", Json::array()}};
  for (const Comparison& comparison : context.comparisons) {
    out["comparisons"].push_back({{"model", comparison.model},
                                  {"assumption", comparison.assumption},
                                  {"flop_share", comparison.flop_share},
                                  {"cache_factor", comparison.cache_factor},
                                  {"cache_bytes", comparison.cache_bytes},
                                  {"cache_bf16_bytes", comparison.cache_bf16_bytes}});
  }
  return out;
}

}  // namespace

Json plan_json(const PlanRequest& request, const Plan& plan, Definitions definitions) {
  const Hardware& hardware = request.hardware;
  Json out = {{"model", plan.model},
              {"source", plan.source},
              {"hardware",
               {{"name", hardware.name},
                {"source", hardware.source},
                {"class", number_class_name(hardware.number_class)},
                {"devices", request.n_gpus}}},
              {"batch", request.batch},
              {"chunk", request.chunk_tokens},
              {"definition", used_definition().name},
              {"weights",
               {{"exact", plan.weights.exact},
                {"tensors", plan.weights.n_tensors},
                {"bytes", plan.weights.n_bytes},
                {"draft_bytes", plan.weights.draft_bytes},
                {"parts", Json::array()}}},
              {"kv_bytes_per_token", plan.kv_bytes_per_token},
              {"contexts", Json::array()}};
  for (const WeightPart& part : plan.weights.parts) {
    out["weights"]["parts"].push_back({{"part", part.part}, {"bytes", part.n_bytes}});
  }
  for (const ContextPlan& context : plan.contexts) out["contexts"].push_back(context_json(context));
  if (definitions == Definitions::kUsed) return out;
  out["other_definitions"] = Json::array();
  for (std::size_t i = 0; i < other_definitions().size(); ++i) {
    Json shares = Json::array();
    for (const ContextPlan& context : plan.contexts) {
      shares.push_back(context.comparisons.front().other_flop_shares[i]);
    }
    out["other_definitions"].push_back(
        {{"definition", other_definitions()[i].name}, {"flop_share_of_v32", shares}});
  }
  return out;
}

void print_plan(const PlanRequest& request, const Plan& plan, Definitions definitions) {
  print_weights(plan);
  print_cache(plan);
  print_work(request, plan);
  print_time(request, plan);
  print_placement(plan);
  print_comparisons(plan);
  if (definitions == Definitions::kAll) print_definitions(plan);
}

}  // namespace precis::cli
