// The pictures of `precis plan`: work and cache over context.
#include <array>

#include <fmt/format.h>

#include "cli/format.h"
#include "cli/plan.h"
#include "cli/plot.h"

namespace precis::cli {
namespace {

// One of each shape; later checkpoints of the same shape would lie on top.
constexpr std::array<const char*, 6> kModels = {"v2", "v3", "v3.2", "pro", "flash", "v4.1-flash"};

constexpr std::int64_t kFirstContext = 4 << 10;
constexpr std::int64_t kLastContext = 1 << 20;

}  // namespace

Result<std::vector<Chart>> plan_charts(const PlanRequest& request) {
  LogPlot work{.title = "Work of one decoded token",
               .subtitle = "FP8 products count 1, BF16 and F32 products 2, FP4 index scores 1/2",
               .x_label = "context (tokens)",
               .y_label = "equivalent FP8 GFLOP",
               .x_ticks = {},
               .series = {}};
  LogPlot cache{.title = "KV cache of one request",
                .subtitle = "in each model's released row formats",
                .x_label = "context (tokens)",
                .y_label = "MiB",
                .x_ticks = {},
                .series = {}};
  PlanRequest each = request;
  each.contexts.clear();
  for (std::int64_t n = kFirstContext; n <= kLastContext; n *= 2) {
    each.contexts.push_back(n);
    work.x_ticks.push_back({static_cast<double>(n), short_size(n)});
  }
  cache.x_ticks = work.x_ticks;
  for (const char* model : kModels) {
    each.model = model;
    PRECIS_ASSIGN_OR_RETURN(const Plan plan, make_plan(each));
    work.series.push_back({model, {}});
    cache.series.push_back({model, {}});
    for (const ContextPlan& context : plan.contexts) {
      const auto x = static_cast<double>(context.n_tokens);
      constexpr double kMib = 1 << 20;
      work.series.back().points.push_back({x, context.decode_equivalent_flop / 1e9});
      cache.series.back().points.push_back({x, static_cast<double>(context.kv.total()) / kMib});
    }
  }
  return std::vector<Chart>{std::move(work), std::move(cache)};
}

}  // namespace precis::cli
