// precis plan cost: a document in context against retrieval from it, in money.
#include <memory>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/options.h"
#include "cli/plan.h"

namespace precis::cli {
namespace {

struct CostFlags {
  std::string document_tokens;
  DocumentUse use;
  TokenPrices prices;
  bool json = false;

  OutputFormat format() const { return json ? OutputFormat::kJson : OutputFormat::kText; }
};

Json cost_json(const CostFlags& flags, const DocumentCost& cost) {
  const DocumentUse& use = flags.use;
  Json out = {{"assumptions",
               {{"document_tokens", use.document_tokens},
                {"questions", use.n_questions},
                {"question_tokens", use.question_tokens},
                {"answer_tokens", use.answer_tokens},
                {"passages", use.n_passages},
                {"passage_tokens", use.passage_tokens},
                {"price_in", flags.prices.input},
                {"price_cached", flags.prices.cached},
                {"price_out", flags.prices.output},
                {"embed_price", flags.prices.embedding}}},
              {"long_context", cost.long_context},
              {"long_context_uncached", cost.uncached},
              {"retrieval", cost.retrieval},
              {"per_question_long_context", cost.per_question_long},
              {"per_question_retrieval", cost.per_question_retrieval}};
  out["break_even_questions"] =
      cost.break_even_questions ? Json(*cost.break_even_questions) : Json(nullptr);
  return out;
}

void print_cost(const CostFlags& flags, const DocumentCost& cost) {
  const DocumentUse& use = flags.use;
  Table table({{fmt::format("{} questions to {} tokens", format_count(use.n_questions),
                            format_count(use.document_tokens)),
                Table::Align::kLeft},
               {"in all"},
               {"each further question"}});
  const auto money = [](double amount) { return fmt::format("{:.4f}", amount); };
  table.add(
      {"long context, prefix cache", money(cost.long_context), money(cost.per_question_long)});
  table.add({"long context, read every time", money(cost.uncached),
             money(cost.uncached / static_cast<double>(use.n_questions))});
  table.add({"retrieval", money(cost.retrieval), money(cost.per_question_retrieval)});
  fmt::print("{}\n", table.text());
  if (cost.break_even_questions) {
    fmt::print("long context costs no more from {} question{} on\n",
               format_count(static_cast<std::int64_t>(*cost.break_even_questions)),
               *cost.break_even_questions == 1 ? "" : "s");
  } else {
    fmt::print(
        "long context never costs less: a cached read of the document costs more than the "
        "passages\n");
  }
  fmt::print(
      "\nassumed: questions of {} and answers of {} tokens; {} passages of {} tokens a question,\n"
      "paid as fresh input; the document is embedded once, and stays in the prefix cache between\n"
      "questions; prices a million tokens: input {:g}, cached {:g}, output {:g}, embedding {:g};\n"
      "no price for storing the cache or the passages, none for quality\n",
      format_count(use.question_tokens), format_count(use.answer_tokens),
      format_count(use.n_passages), format_count(use.passage_tokens), flags.prices.input,
      flags.prices.cached, flags.prices.output, flags.prices.embedding);
}

Result<void> show(CostFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(flags.use.document_tokens,
                          parse_size("--doc-tokens", flags.document_tokens));
  PRECIS_ASSIGN_OR_RETURN(const DocumentCost cost, document_cost(flags.use, flags.prices));
  if (flags.json) {
    print_json(cost_json(flags, cost));
  } else {
    print_cost(flags, cost);
  }
  return {};
}

}  // namespace

void add_plan_cost(CLI::App& plan, int& exit_code) {
  auto flags = std::make_shared<CostFlags>();
  CLI::App& command = add_command(
      plan, "cost",
      "Compares reading a document once and keeping it in a prefix cache with retrieval from it.",
      "  precis plan cost --doc-tokens 1M --questions 50 --price-in 0.14 --price-cached 0.014 "
      "--price-out 0.28 --retrieval-k 20 --embed-price 0.02\n");
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help);
  };
  add("--doc-tokens", flags->document_tokens, "Tokens of the document")
      ->required()
      ->type_name("TOKENS");
  add("--questions", flags->use.n_questions, "Questions asked")->required()->type_name("Q");
  add("--price-in", flags->prices.input, "Of a million input tokens")->required();
  add("--price-cached", flags->prices.cached, "Of a million input tokens from the cache")
      ->required();
  add("--price-out", flags->prices.output, "Of a million output tokens")->required();
  add("--retrieval-k", flags->use.n_passages, "Passages retrieved for a question")
      ->capture_default_str();
  add("--embed-price", flags->prices.embedding, "Of a million embedded tokens")
      ->capture_default_str();
  add("--passage-tokens", flags->use.passage_tokens, "Tokens of a passage")->capture_default_str();
  add("--question-tokens", flags->use.question_tokens, "Tokens of a question")
      ->capture_default_str();
  add("--answer-tokens", flags->use.answer_tokens, "Tokens of an answer")->capture_default_str();
  command.add_flag("--json", flags->json, "One JSON object on stdout");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(show(*flags), flags->format()); });
}

}  // namespace precis::cli
