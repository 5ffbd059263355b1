// A recursive network over random binary trees. Each tree is a formula such as
// ((true and false) or true); the net follows its shape with an ordinary recursive function and
// learns to tell whether it is true.
#include <tandem/tandem.h>

#include <cstdio>
#include <memory>

using namespace tandem;

enum Word : int64_t { false_word, true_word, and_word, or_word };

struct Tree {
  Word word;
  std::shared_ptr<Tree> left, right;  // none: a leaf
};

std::shared_ptr<Tree> random_tree(data::Random& random, int depth) {
  auto tree = std::make_shared<Tree>();
  if (depth == 0 || random.chance(0.3)) {
    tree->word = random.chance(0.5) ? true_word : false_word;
  } else {
    tree->word = random.chance(0.5) ? and_word : or_word;
    tree->left = random_tree(random, depth - 1);
    tree->right = random_tree(random, depth - 1);
  }
  return tree;
}

bool is_true(const Tree& tree) {
  if (!tree.left) return tree.word == true_word;
  const bool left = is_true(*tree.left), right = is_true(*tree.right);
  return tree.word == and_word ? left && right : left || right;
}

struct TreeNet : nn::Module<TreeNet> {
  nn::Embedding words;
  nn::Linear join, answer;
  static constexpr auto fields =
      std::tuple{field("words", &TreeNet::words), field("join", &TreeNet::join),
                 field("answer", &TreeNet::answer)};

  explicit TreeNet(int64_t width) : words(4, width), join(3 * width, width), answer(width, 1) {}

  Tensor state(const Tree& tree) const {
    const Tensor word = words(full({1}, int64_t(tree.word), i64));
    if (!tree.left) return word;
    return tanh(join(cat({word, state(*tree.left), state(*tree.right)}, 1)));
  }
  Tensor forward(const Tree& tree) const { return answer(state(tree)); }
};

int main() {
  manual_seed(0);
  data::Random random(0, 0);
  TreeNet model(16);
  optim::Adam optimizer(model, {.lr = 1e-2});

  for (int step = 0; step < 300; ++step) {
    Tensor loss = zeros({});
    for (int i = 0; i < 16; ++i) {
      const auto tree = random_tree(random, 4);
      const Tensor target = full({1, 1}, is_true(*tree), f32);
      loss = loss + binary_cross_entropy_with_logits(model(*tree), target) / 16;
    }
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 50 == 49) std::printf("step %d: loss %.4f\n", step + 1, loss.item<double>());
  }

  const NoGrad no_grad;
  int right = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto tree = random_tree(random, 5);  // deeper than those it has seen
    right += (model(*tree).item<double>() > 0) == is_true(*tree);
  }
  std::printf("accuracy on new trees: %.1f %%\n", right / 10.0);
}
