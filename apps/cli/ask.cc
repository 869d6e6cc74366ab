// precis ask: answers from a long document, with the passages they were read from.
#include <algorithm>

#include <fmt/format.h>

#include "precis/paths.h"

#include "cli/ask_report.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct AskFlags {
  ModelFlags model;
  OutputFlags output;
  SamplingFlags sampling;
  std::string document;
  std::vector<std::string> questions;
  std::string questions_file;
  std::string expect_file;
  bool multiline = false;
  bool tour = false;
};

// What is to be asked, with every default filled in.
struct AskRequest {
  std::filesystem::path document;
  std::vector<Question> questions;
  bool must_hold = false;  // a wrong answer fails the command
  bool tour = false;
};

Result<void> add_question_file(const std::filesystem::path& path,
                               std::vector<Question>& questions) {
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  PRECIS_ASSIGN_OR_RETURN(const std::vector<Question> more, parse_questions(text, path.string()));
  questions.insert(questions.end(), more.begin(), more.end());
  return {};
}

Result<AskRequest> ask_request(const AskFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path model, model_path(flags.model));
  AskRequest request{.document = flags.document,
                     .questions = {},
                     .must_hold = !flags.expect_file.empty(),
                     .tour = flags.tour};
  for (const std::string& text : flags.questions) request.questions.push_back({text, {}});
  for (const std::string& file : {flags.questions_file, flags.expect_file}) {
    if (!file.empty()) PRECIS_TRY(add_question_file(file, request.questions));
  }
  if (flags.document.empty()) {
    // The example of a bundled model has facts to ask about, and their answers.
    request.document = model / "example" / "document.txt";
    request.tour = request.tour || is_bundled_model(model, executable_path());
    if (request.questions.empty()) {
      PRECIS_TRY(add_question_file(model / "example" / "questions.json", request.questions));
      request.must_hold = true;
    }
  }
  if (request.questions.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "nothing is asked: want a question, --questions FILE or --expect FILE"};
  }
  return request;
}

// Refuses what cannot fit before time is spent on reading.
Result<void> require_room(const DocumentReader& reader, const Engine& engine) {
  if (reader.n_prefix_tokens() < engine.max_tokens()) return {};
  return Error{ErrorCode::kBudget, fmt::format("the document has {} tokens, the context only {}",
                                               format_count(reader.n_prefix_tokens()),
                                               format_count(engine.max_tokens()))};
}

// Asks everything in order.  Stops early after Ctrl-C, with what was answered so far.
Result<std::vector<AskedQuestion>> ask_all(DocumentReader& reader, const AskRequest& request,
                                           const GenerateOptions& options, OutputFormat format) {
  std::vector<AskedQuestion> asked;
  for (const Question& question : request.questions) {
    if (format == OutputFormat::kText) fmt::print("\n{}\n  ", question.text);
    const auto on_text = [&](std::string_view text) {
      if (format == OutputFormat::kJson) return;
      fmt::print("{}", text);
      std::fflush(stdout);
    };
    auto answer = reader.ask(question.text, options, on_text);
    if (!answer && answer.error().code == ErrorCode::kCancelled && !asked.empty()) return asked;
    if (!answer) return std::move(answer).error();
    asked.push_back({question, *std::move(answer)});
    if (format == OutputFormat::kText) print_sources(asked.back(), reader.document());
    if (interrupted()) break;
  }
  return asked;
}

ReadingCost reading_cost(const Engine& engine, const DocumentReader& reader,
                         const SessionStats& after_reading,
                         const std::vector<AskedQuestion>& asked) {
  std::int64_t n_longest = reader.n_prefix_tokens();
  for (const AskedQuestion& one : asked) {
    const auto n_answer = static_cast<std::int64_t>(one.answer.tokens.size());
    n_longest =
        std::max(n_longest, reader.n_prefix_tokens() + one.answer.n_prompt_tokens + n_answer);
  }
  return {.n_tokens = after_reading.n_computed,
          .seconds = after_reading.prefill_seconds,
          .session = reader.session().stats(),
          .plan = engine.plan(std::min(n_longest, engine.max_tokens())),
          .comparison = engine.compare_kv(reader.n_prefix_tokens()),
          .memory = process_memory()};
}

Result<int> ask(const AskFlags& flags) {
  const OutputFormat format = flags.output.format();
  PRECIS_ASSIGN_OR_RETURN(const AskRequest request, ask_request(flags));
  PRECIS_ASSIGN_OR_RETURN(GenerateOptions options, generate_options(flags.sampling));
  // The bundled model was trained on answers of one line, and at times goes on with prose after it.
  if (options.stop.empty() && !flags.multiline) options.stop = {"\n"};
  PRECIS_ASSIGN_OR_RETURN(std::string text, read_file(request.document));
  if (text.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{} is empty: want a text to read", request.document.string())};
  }
  PRECIS_TRY(require_utf8(text, request.document.string()));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                          open_engine(flags.model, flags.output.progress()));
  PRECIS_TRY(validate(options.sampling, engine->info().vocab_size));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<DocumentReader> reader,
                          DocumentReader::create(*engine, std::move(text)));
  PRECIS_TRY(require_room(*reader, *engine));

  if (format == OutputFormat::kText) print_document(request.document, reader->document());
  std::fflush(stdout);
  PRECIS_TRY(reader->read(flags.output.progress()));
  const SessionStats after_reading = reader->session().stats();
  if (format == OutputFormat::kText) {
    print_reading(after_reading.n_computed, after_reading.prefill_seconds);
  }

  PRECIS_ASSIGN_OR_RETURN(const std::vector<AskedQuestion> asked,
                          ask_all(*reader, request, options, format));
  const ReadingCost cost = reading_cost(*engine, *reader, after_reading, asked);
  if (format == OutputFormat::kJson) {
    print_json(ask_json(request.document, reader->document(), engine->info(), cost, asked));
  } else {
    print_summary(cost, asked);
    if (request.tour) print_tour(request.document);
  }
  if (interrupted()) return kInterrupted;
  const bool all_hold = std::ranges::all_of(
      asked, [](const AskedQuestion& one) { return !one.checked() || one.holds(); });
  return request.must_hold && !all_hold ? kTestFailed : kOk;
}

}  // namespace

void add_ask(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<AskFlags>();
  // Facts are looked up, not invented: greedy unless asked otherwise.
  flags->sampling.options.temperature = 0;
  flags->sampling.max_new_tokens = "128";
  CLI::App& command = add_command(
      app, "ask",
      "Answers questions about a text file of up to a million tokens, and shows the passages that\n"
      "each answer was read from.  Without arguments: the bundled model's example.",
      "  precis ask\n"
      "  precis ask book.txt \"What is the badge number of Peter Marsh?\"\n"
      "  precis ask book.txt --expect questions.json --json\n");
  command.add_option("DOCUMENT", flags->document, "Text file in UTF-8 (default: the example)");
  command.add_option("QUESTION", flags->questions, "What to ask; each is answered on its own");
  command
      .add_option("--questions", flags->questions_file,
                  "Ask these too: one a line, or a JSON list of {\"question\", \"answer\"}")
      ->type_name("FILE");
  command
      .add_option("--expect", flags->expect_file,
                  "As --questions, and exit with 1 if an answer lacks what is expected")
      ->type_name("FILE");
  command.add_flag("--multiline", flags->multiline,
                   "Answers may have several lines; without it, or --stop, they end at the first");
  command.add_flag("--tour", flags->tour, "End with what to try next");
  add_engine_flags(command, flags->model);
  add_sampling_flags(command, flags->sampling);
  add_output_flags(command, flags->output);
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(ask(*flags), flags->output.format()); });
}

}  // namespace precis::cli
