#include "cli/ask_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/format.h"

namespace precis::cli {
namespace {

constexpr std::int64_t kContextBytes = 70;

double percent_of_document(const Passage& passage, const TokenizedDocument& document) {
  return 100.0 * static_cast<double>(passage.begin) / static_cast<double>(document.text.size());
}

std::string times_ours(std::int64_t n_bytes, std::int64_t ours) {
  return fmt::format("{} ({:.0f} times as much)", format_bytes(n_bytes),
                     static_cast<double>(n_bytes) / static_cast<double>(ours));
}

Json passage_json(const Passage& passage, const TokenizedDocument& document) {
  const Excerpt shown = excerpt(document.text, passage, kContextBytes);
  return {{"begin_byte", passage.begin},
          {"end_byte", passage.end},
          {"line", passage.line},
          {"percent", percent_of_document(passage, document)},
          {"attention_share", passage.attention_share},
          {"text", shown.passage},
          {"excerpt", shown.before + shown.passage + shown.after}};
}

Json answer_json(const AskedQuestion& asked, const TokenizedDocument& document) {
  const Answer& answer = asked.answer;
  Json out = {{"question", asked.question.text},
              {"answer", answer.text},
              {"finish", finish_reason_name(answer.finish)},
              {"seconds", answer.seconds},
              {"question_tokens", answer.n_prompt_tokens}};
  if (asked.checked()) {
    out["expected"] = asked.question.expected;
    out["correct"] = asked.holds();
  }
  out["tokens"] = Json::array();
  for (const SampledToken& token : answer.tokens) {
    out["tokens"].push_back({{"id", token.token}, {"logprob", token.logprob}});
  }
  out["passages"] = Json::array();
  for (const Passage& passage : answer.passages) {
    out["passages"].push_back(passage_json(passage, document));
  }
  return out;
}

Json plan_json(const MemoryPlan& plan) {
  return {{"tokens", plan.n_tokens},     {"weights", plan.weights}, {"scratch", plan.scratch},
          {"frontiers", plan.frontiers}, {"kv", plan.kv.total()},   {"total", plan.total()}};
}

}  // namespace

void print_document(const std::filesystem::path& path, const TokenizedDocument& document) {
  fmt::print("{}: {} bytes, {} tokens\n", path.string(),
             format_count(static_cast<std::int64_t>(document.text.size())),
             format_count(document.n_tokens()));
}

void print_reading(std::int64_t n_tokens, double seconds) {
  fmt::print("read in {}, {} tokens/s\n", format_seconds(seconds),
             format_count(static_cast<std::int64_t>(tokens_per_second(n_tokens, seconds))));
}

void print_sources(const AskedQuestion& asked, const TokenizedDocument& document) {
  if (asked.checked()) {
    fmt::print(" {}", asked.holds() ? styled("✓", Style::kGood)
                                    : styled(fmt::format("✗ expected {}", asked.question.expected),
                                             Style::kBad));
  }
  fmt::print("\n");
  for (const Passage& passage : asked.answer.passages) {
    const Excerpt shown = excerpt(document.text, passage, kContextBytes);
    fmt::print("  read at {:.1f} %, line {}, byte {}, {:.0f} % of the attention:\n",
               percent_of_document(passage, document), format_count(passage.line),
               format_count(passage.begin), 100 * passage.attention_share);
    fmt::print("    {}{}{}\n", styled(shown.before, Style::kDim),
               styled(shown.passage, Style::kHighlight), styled(shown.after, Style::kDim));
  }
}

void print_summary(const ReadingCost& cost, const std::vector<AskedQuestion>& asked) {
  const std::int64_t kv = cost.session.kv_bytes;
  const auto row = [](const char* name, const std::string& value) {
    fmt::print("{:<22}{}\n", name, value);
  };
  const auto n_checked = std::ranges::count_if(asked, &AskedQuestion::checked);
  const auto n_right = std::ranges::count_if(
      asked, [](const AskedQuestion& one) { return one.checked() && one.holds(); });
  fmt::print("\n");
  if (n_checked > 0) row("answers", fmt::format("{} of {} as expected", n_right, n_checked));
  row("tokens read",
      fmt::format(
          "{} at {} tokens/s", format_count(cost.n_tokens),
          format_count(static_cast<std::int64_t>(tokens_per_second(cost.n_tokens, cost.seconds)))));
  row("KV cache", fmt::format("{} held", format_bytes(kv)));
  row("  dense attention", times_ours(cost.comparison.dense_mha_bf16, kv));
  row("  DeepSeek-V3.2", times_ours(cost.comparison.v32_rows, kv));
  row("memory",
      fmt::format("{} planned for the engine, {} resident in all", format_bytes(cost.plan.total()),
                  format_bytes(cost.memory.peak_resident_bytes)));
}

void print_tour(const std::filesystem::path& document) {
  fmt::print(
      "\nNext:\n"
      "  precis ask {} \"What is the badge number of Peter Wells?\"\n"
      "                                           a question of your own\n"
      "  precis inspect                           what the bundled model is made of\n"
      "  precis run \"It was a cold evening in\"   plain text from it\n",
      document.string());
}

Json ask_json(const std::filesystem::path& path, const TokenizedDocument& document,
              const ModelInfo& model, const ReadingCost& cost,
              const std::vector<AskedQuestion>& asked) {
  Json out = {
      {"document",
       {{"path", path.string()}, {"bytes", document.text.size()}, {"tokens", document.n_tokens()}}},
      {"model", {{"name", model.name}, {"backend", model.backend}, {"isa", model.isa}}}};
  out["answers"] = Json::array();
  for (const AskedQuestion& one : asked) out["answers"].push_back(answer_json(one, document));
  out["prefill"] = {{"tokens", cost.n_tokens},
                    {"seconds", cost.seconds},
                    {"tokens_per_second", tokens_per_second(cost.n_tokens, cost.seconds)}};
  out["decode_seconds"] = cost.session.decode_seconds;
  out["kv_bytes"] = {{"held", cost.session.kv_bytes},
                     {"frontiers", cost.session.frontier_bytes},
                     {"dense_mha_bf16", cost.comparison.dense_mha_bf16},
                     {"v32_rows", cost.comparison.v32_rows}};
  out["plan"] = plan_json(cost.plan);
  out["memory"] = {{"resident_bytes", cost.memory.resident_bytes},
                   {"peak_resident_bytes", cost.memory.peak_resident_bytes}};
  return out;
}

}  // namespace precis::cli
