#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <xxhash.h>

#include "eval/eval_test_util.h"
#include "eval/frame.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

const std::string& book() {
  static const std::string text = [] {
    std::string out;
    for (const Sentence& sentence : generated_prose(mini_tokenizer(), 77, 40000)) {
      out += sentence.text;
    }
    return out;
  }();
  return text;
}

EvalOptions options_with(std::uint64_t seed) {
  EvalOptions options;
  options.seed = seed;
  options.n_samples = 4;
  options.depths = {0, 50, 100};
  options.document = book();
  return options;
}

EvalPrompt make(std::string_view task, std::int64_t length, int sample = 0,
                const EvalOptions& options = options_with(1)) {
  const Task* const found = find_task(task);
  return found->make({.options = options,
                      .tokenizer = mini_tokenizer(),
                      .task = task,
                      .length = length,
                      .sample = sample,
                      .depths = found->per_depth ? options.depths : std::vector<double>()});
}

std::uint64_t hash_of(const EvalPrompt& prompt) {
  std::string all = prompt.context;
  for (const TokenId token : prompt.context_tokens) all += std::to_string(token) + " ";
  for (const EvalQuestion& question : prompt.questions) {
    all += question.text + question.answer_prefix;
    for (const std::string& reference : question.references) all += reference;
  }
  return XXH3_64bits(all.data(), all.size());
}

TEST(Tasks, PromptsFillTheirLengthAndNeverPassIt) {
  for (const EvalTaskInfo& info : eval_tasks()) {
    for (const std::int64_t length : {2048, 4096, 16384}) {
      for (int sample = 0; sample < 2; ++sample) {
        const EvalPrompt prompt = make(info.name, length, sample);
        for (const EvalQuestion& question : prompt.questions) {
          std::int64_t n_tokens = std::ssize(prompt.context_tokens) + 1;
          if (prompt.targets.empty()) {
            n_tokens = std::ssize(prompt.context_tokens) + question.allowance +
                       frame_tokens(mini_tokenizer(), PromptForm::kChat, question);
          }
          EXPECT_LE(n_tokens, length) << info.name;
          EXPECT_GT(n_tokens, length - 400) << info.name;
        }
      }
    }
  }
}

TEST(Tasks, AnAnswerInAChatHasRoomForItsOpening) {
  for (const char* name : {"vt", "niah_multivalue", "cwe", "fwe"}) {
    const EvalQuestion chat = make(name, 4096).questions.front();
    EvalOptions options = options_with(1);
    options.form = PromptForm::kRaw;
    const EvalQuestion raw = make(name, 4096, 0, options).questions.front();
    ASSERT_FALSE(chat.answer_prefix.empty());
    EXPECT_EQ(chat.allowance, raw.allowance + std::ssize(mini_tokenizer().encode(
                                                  chat.answer_prefix, SpecialTokens::kAsText)))
        << name;
  }
}

TEST(Tasks, ContextAndTokensAreTheSameText) {
  for (const EvalTaskInfo& info : eval_tasks()) {
    const EvalPrompt prompt = make(info.name, 4096);
    if (prompt.targets.empty()) {
      EXPECT_EQ(mini_tokenizer().decode(prompt.context_tokens), prompt.context) << info.name;
    }
  }
}

TEST(Tasks, AnswersAreInTheContext) {
  for (const EvalTaskInfo& info : eval_tasks()) {
    for (const EvalQuestion& question : make(info.name, 4096).questions) {
      for (const std::string& reference : question.references) {
        if (info.name == "document_cloze") continue;  // line ends inside may have become spaces
        EXPECT_NE(make(info.name, 4096).context.find(reference), std::string::npos)
            << info.name << " " << reference;
      }
    }
  }
}

TEST(Tasks, DependOnSeedSampleAndNothingElse) {
  for (const EvalTaskInfo& info : eval_tasks()) {
    const std::uint64_t hash = hash_of(make(info.name, 2048, 1));
    EXPECT_EQ(hash, hash_of(make(info.name, 2048, 1))) << info.name;
    EXPECT_NE(hash, hash_of(make(info.name, 2048, 2))) << info.name;
    if (info.needs_document && info.name != "document_niah") continue;  // nothing is drawn
    EXPECT_NE(hash, hash_of(make(info.name, 2048, 1, options_with(2)))) << info.name;
  }
}

// These values change only when a task is meant to change; results before and after cannot be
// compared then.
TEST(Tasks, PromptsAreTheSameOnEveryMachine) {
  const std::map<std::string, std::uint64_t> want = {{"niah", 0xd0b849e28cd833c7},
                                                     {"niah_heldout", 0x3571b06fbf212549},
                                                     {"niah_single_1", 0x284d705485a5a535},
                                                     {"niah_single_2", 0x8b54664e70819c41},
                                                     {"niah_single_3", 0xde9f51cb41948605},
                                                     {"niah_multikey_1", 0x2d89973fab97f8d3},
                                                     {"niah_multikey_2", 0x65d158479afdb8b9},
                                                     {"niah_multikey_3", 0xddd7a38e15155658},
                                                     {"niah_multivalue", 0xd388c361c261f005},
                                                     {"niah_multiquery", 0x47e969e12b2f06eb},
                                                     {"vt", 0xef7b67b07161bd08},
                                                     {"cwe", 0x9dcb5ab0f0d62e06},
                                                     {"fwe", 0xf2e576dc0b7a7e0c},
                                                     {"mqar_16", 0x5697b86445d1a02b},
                                                     {"mqar_64", 0xc6e43a1bfc1aee62},
                                                     {"mqar_256", 0x2367eca70fe0daef},
                                                     {"w1", 0x62170a107f8f6694},
                                                     {"w2", 0x6c171d57d9db425b},
                                                     {"w3", 0x9c52949ba58531f2},
                                                     {"w4", 0xdc7fbac5cd3d016b},
                                                     {"w5", 0x32fd25db22a4e417},
                                                     {"items_2", 0xf5cc966ca13b20de},
                                                     {"items_4", 0x179839de44b41204},
                                                     {"items_8", 0xfc7fb45bc033e59f},
                                                     {"document_niah", 0x1eecb300fdd853b6},
                                                     {"document_cloze", 0x1c87031935d71b47},
                                                     {"logprob", 0xf5c2ae3cc2f5acd7}};
  for (const EvalTaskInfo& info : eval_tasks()) {
    const auto found = want.find(info.name);
    EXPECT_EQ(hash_of(make(info.name, 2048)), found == want.end() ? 0 : found->second) << info.name;
  }
}

TEST(Niah, HidesOneFactAtEveryDepthAndKnowsWhere) {
  const EvalPrompt prompt = make("niah", 16384);
  ASSERT_EQ(prompt.questions.size(), 3U);
  for (const EvalQuestion& question : prompt.questions) {
    const SourceSpan& source = question.source;
    EXPECT_NEAR(static_cast<double>(source.first) / 16384, question.depth / 100, 0.02);
    EXPECT_EQ(mini_tokenizer().decode(std::span(prompt.context_tokens)
                                          .subspan(static_cast<std::size_t>(source.first),
                                                   static_cast<std::size_t>(source.n_tokens))),
              question.references[0]);
  }
}

TEST(Niah, PromptLengthsTakeAllResiduesOfABlock) {
  const std::vector<EvalQuestion> questions(1);
  const EvalOptions options = options_with(1);
  std::set<std::int64_t> residues;
  for (int sample = 0; sample < 4; ++sample) {
    const TaskInput input{.options = options,
                          .tokenizer = mini_tokenizer(),
                          .task = "niah",
                          .length = 4096,
                          .sample = sample,
                          .depths = {}};
    residues.insert(input.context_tokens(questions) % 4);
  }
  EXPECT_EQ(residues.size(), 4U);
}

// The strings of scripts/data/synthetic/constants.py and niah.py in NVIDIA/RULER.
TEST(Ruler, SpeaksAsThePublicGenerator) {
  const EvalPrompt single = make("niah_single_2", 4096);
  EXPECT_TRUE(
      single.context.starts_with("A special magic number is hidden within the following text. Make "
                                 "sure to memorize it. I will "
                                 "quiz you about the number afterwards.\n"));
  const std::string& value = single.questions[0].references[0];
  const std::size_t end = single.context.find(" is: " + value + ".");
  ASSERT_NE(end, std::string::npos);
  constexpr std::string_view kNeedle = "One of the special magic numbers for ";
  const std::size_t begin = single.context.rfind(kNeedle, end);
  const std::string key =
      single.context.substr(begin + kNeedle.size(), end - begin - kNeedle.size());
  EXPECT_EQ(single.questions[0].text,
            "What is the special magic number for " + key + " mentioned in the provided text?");
  EXPECT_EQ(single.questions[0].answer_prefix,
            " The special magic number for " + key + " mentioned in the provided text is");

  const EvalPrompt several = make("niah_multiquery", 4096);
  EXPECT_TRUE(
      several.context.starts_with("Some special magic numbers are hidden within the following "
                                  "text. Make sure to memorize it. I "
                                  "will quiz you about the numbers afterwards.\n"));
  EXPECT_TRUE(several.questions[0].text.starts_with("What are all the special magic numbers for "));
  EXPECT_NE(several.questions[0].text.find(", and "), std::string::npos);
  EXPECT_EQ(several.questions[0].references.size(), 4U);
  EXPECT_EQ(make("niah_multivalue", 4096).questions[0].references.size(), 4U);
}

TEST(Ruler, VariableTrackingShowsAnExampleAndThenTheChain) {
  const EvalPrompt prompt = make("vt", 4096);
  const std::string& text = prompt.context;
  const std::string instruction =
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n";
  EXPECT_TRUE(text.starts_with(instruction));
  const std::size_t second = text.find(instruction, 1);
  ASSERT_NE(second, std::string::npos);
  const EvalQuestion& question = prompt.questions[0];
  ASSERT_EQ(question.references.size(), 5U);
  std::size_t at = second;
  for (std::size_t i = 0; i < 5; ++i) {
    const std::string& name = question.references[i];
    EXPECT_EQ(name.size(), 5U);
    at = text.find(
        i == 0 ? "VAR " + name + " = " : "VAR " + name + " = VAR " + question.references[i - 1],
        at);
    ASSERT_NE(at, std::string::npos);
  }
}

TEST(Ruler, CommonWordsAreTheMostCommon) {
  const EvalPrompt prompt = make("cwe", 8192);
  const std::size_t begin = prompt.context.rfind("Below is a numbered list of words.");
  std::map<std::string, int> counts;
  std::istringstream words(prompt.context.substr(prompt.context.find('\n', begin)));
  for (std::string number, word; words >> number >> word;) ++counts[word];
  for (const auto& [word, n] : counts) {
    const auto& common = prompt.questions[0].references;
    EXPECT_EQ(n, std::ranges::find(common, word) != common.end() ? 30 : 3) << word;
  }
}

TEST(Ruler, FrequentWordsComeInTheOrderOfTheirRanks) {
  const EvalPrompt prompt = make("fwe", 8192);
  std::map<std::string, int> counts;
  std::istringstream words(prompt.context.substr(prompt.context.find("coded words. ") + 13));
  for (std::string word; words >> word;) ++counts[word];
  const auto& names = prompt.questions[0].references;
  EXPECT_GT(counts["..."], counts[names[0]]);
  EXPECT_GT(counts[names[0]], counts[names[1]]);
  EXPECT_GT(counts[names[1]], counts[names[2]]);
  for (const auto& [word, n] : counts) {
    if (word != "..." && std::ranges::find(names, word) == names.end()) {
      EXPECT_LT(n, counts[names[2]]) << word;
    }
  }
}

TEST(RecallPairs, EveryKeyComesAgainAtAnEvenDistance) {
  for (const std::int64_t length : {256, 4096}) {
    const EvalPrompt prompt = make("mqar_16", length);
    ASSERT_EQ(prompt.targets.size(), 16U);
    std::map<TokenId, TokenId> pairs;
    for (std::size_t i = 0; i < 32; i += 2) {
      pairs[prompt.context_tokens[i]] = prompt.context_tokens[i + 1];
    }
    EXPECT_EQ(pairs.size(), 16U);
    for (const TokenTarget& target : prompt.targets) {
      const TokenId key = prompt.context_tokens[static_cast<std::size_t>(target.n_before) - 1];
      EXPECT_EQ(pairs.at(key), target.token);
      EXPECT_EQ((target.n_before - prompt.targets[0].n_before) % 2, 0);
    }
  }
}

// An own reading of the facts, sentence by sentence.
TEST(Worlds, FactsImplyTheAnswer) {
  for (int sample = 0; sample < 20; ++sample) {
    const EvalPrompt prompt = make("w1", 2048, sample);
    const std::string& question = prompt.questions[0].text;
    const std::string person = question.substr(9, question.find('?') - 9);
    const std::string fact = person + " went to the ";
    const std::size_t last = prompt.context.rfind(fact) + fact.size();
    EXPECT_EQ(prompt.context.substr(last, prompt.context.find('.', last) - last),
              prompt.questions[0].references[0]);
    EXPECT_NE(prompt.context.find(fact), prompt.context.rfind(fact)) << "moved once only";

    const EvalPrompt given = make("w5", 4096, sample);
    const std::string& asked = given.questions[0].text;  // Who gave the {} to {}?
    const std::string act = asked.substr(3, asked.find('?') - 3) + ".";
    const std::size_t at = given.context.rfind(act);
    ASSERT_NE(at, std::string::npos);
    const std::size_t name = given.context.find_last_of(" \n", at - 1) + 1;
    EXPECT_EQ(given.context.substr(name, at - name), given.questions[0].references[0]);
  }
}

TEST(Worlds, ThingsAreWhereTheyWereCarriedLast) {
  for (const char* task : {"w2", "w3"}) {
    for (int sample = 0; sample < 20; ++sample) {
      const EvalPrompt prompt = make(task, 4096, sample);
      const std::string& question = prompt.questions[0].text;
      const std::size_t the = question.find("the ") + 4;
      const std::string object = question.substr(the, question.find_first_of(" ?", the) - the);
      std::map<std::string, std::string> place_of;
      std::string carrier;
      std::vector<std::string> places;
      const auto visit = [&](const std::string& place) {
        if (places.empty() || places.back() != place) places.push_back(place);
      };
      for (const std::string_view piece : split_sentences(prompt.context)) {
        std::istringstream words{std::string(piece)};
        std::string person, verb, rest;
        words >> person >> verb;
        std::getline(words, rest);
        rest = rest.substr(0, rest.find('.'));
        const std::string what = rest.substr(rest.rfind(' ') + 1);
        if (verb == "went" && rest.starts_with(" to the ")) {
          place_of[person] = what;
          if (carrier == person) visit(what);
        } else if (verb == "picked" && what == object) {
          carrier = person;
          visit(place_of.at(person));
        } else if (verb == "put" && what == object) {
          carrier.clear();
        }
      }
      ASSERT_GE(places.size(), 2U);
      const std::size_t back = std::string_view(task) == "w2" ? 1 : 2;
      EXPECT_EQ(places[places.size() - back], prompt.questions[0].references[0]) << prompt.context;
    }
  }
}

TEST(Items, TheAskedRequestComesAsOftenAsItShould) {
  const EvalPrompt prompt = make("items_4", 8192);
  const EvalQuestion& question = prompt.questions[0];
  ASSERT_EQ(question.pieces.texts.size(), 4U);
  std::size_t at = 0;
  for (const std::string& piece : question.pieces.texts) {
    at = prompt.context.find("Assistant: " + piece, at);
    ASSERT_NE(at, std::string::npos) << "missing, or out of order";
  }
}

TEST(ParseEvalTasks, TakesNamesAndGroupsOnce) {
  const auto tasks = parse_eval_tasks("vt,needle,niah,w1");
  ASSERT_TRUE(tasks.ok());
  EXPECT_EQ(*tasks, (std::vector<std::string>{"vt", "niah", "niah_heldout", "w1"}));
  const auto unknown = parse_eval_tasks("niah,nope");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("\"nope\""), std::string::npos);
}

}  // namespace
}  // namespace precis
