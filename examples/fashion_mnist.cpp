// A small convolutional network learns to tell clothes apart: the 60,000 pictures of Fashion-MNIST.
#include <tandem/tandem.h>

#include <cstdio>
#include <cstdlib>
#include <string>

using namespace tandem;

struct Net : nn::Module<Net> {
  nn::Conv2d conv1{1, 32, 3, {.padding = 1}}, conv2{32, 64, 3, {.padding = 1}};
  nn::Linear fc1{64 * 7 * 7, 128}, fc2{128, 10};
  nn::Dropout dropout{0.25};
  static constexpr auto fields =
      std::tuple{field("conv1", &Net::conv1), field("conv2", &Net::conv2), field("fc1", &Net::fc1),
                 field("fc2", &Net::fc2), field("dropout", &Net::dropout)};

  Tensor forward(const Tensor& x) const {
    const Tensor a = max_pool2d(relu(conv1(x)), 2);  // [N, 32, 14, 14]
    const Tensor b = max_pool2d(relu(conv2(a)), 2);  // [N, 64, 7, 7]
    return fc2(dropout(relu(fc1(flatten(b, 1)))));
  }
};

struct Options {
  int64_t epochs = 4, batch_size = 128, seed = 0;
  int threads = 0;
  std::string data = data::FashionMNISTOptions{}.root;
  std::string weights = "fashion_mnist.safetensors";
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--epochs" && !value.empty()) o.epochs = std::stol(value);
    else if (name == "--batch-size" && !value.empty()) o.batch_size = std::stol(value);
    else if (name == "--seed" && !value.empty()) o.seed = std::stol(value);
    else if (name == "--threads" && !value.empty()) o.threads = std::stoi(value);
    else if (name == "--data" && !value.empty()) o.data = value;
    else if (name == "--weights" && !value.empty()) o.weights = value;
    else {
      std::printf(
          "usage: fashion_mnist [--epochs N] [--batch-size N] [--seed N] [--data FOLDER]\n"
          "                     [--weights FILE] [--threads N]   (N threads of the loader)\n");
      std::exit(name == "--help" ? 0 : 2);
    }
  }
  return o;
}

const auto to_input = data::compose(data::ToFloat{}, data::Normalize{{0.2860f}, {0.3530f}});

double accuracy(const Tensor& logits, const Tensor& labels) {
  return (logits.argmax(1) == labels).to(f64).mean().item<double>();
}

template <class Loader>
double evaluate(Net& model, Loader& loader) {
  const NoGrad no_grad;
  model.eval();
  double right = 0;
  for (auto& [x, y] : loader) right += accuracy(model(x), y) * double(x.size(0));
  return 100 * right / double(loader.dataset().size());
}

int run(const Options& o) {
  manual_seed(uint64_t(o.seed));
  const data::FashionMNIST pictures({.root = o.data}), unseen({.root = o.data, .train = false});
  data::DataLoader train(data::transformed(pictures, to_input), {.batch_size = o.batch_size,
                                                                 .shuffle = true,
                                                                 .threads = o.threads,
                                                                 .seed = uint64_t(o.seed)});
  data::DataLoader test(data::transformed(unseen, to_input),
                        {.batch_size = 500, .threads = o.threads});

  Net model;
  std::printf("%s\n", model.str().c_str());
  optim::Adam optimizer(model, {.lr = 1e-3});
  optim::OneCycleLR scheduler(optimizer, 4e-3,
                              {.epochs = o.epochs, .steps_per_epoch = train.size()});

  SummaryWriter writer;  // what `tensorboard --logdir runs` shows
  double seconds = 0;
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < o.epochs; ++epoch) {
    model.train();
    Progress progress(
        {.total = train.size(), .label = cat("epoch ", epoch + 1, "/", o.epochs), .file = stdout});
    double loss_sum = 0, right = 0, seen = 0;
    for (auto& [x, y] : train) {
      const Tensor logits = model(x);
      const Tensor loss = cross_entropy(logits, y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      scheduler.step();

      const auto n = double(x.size(0));
      const auto loss_now = loss.item<double>(), right_now = accuracy(logits, y);
      seen += n;
      loss_sum += loss_now * n;
      right += right_now * n;
      writer.add_scalar("loss/train", loss_now, step);
      writer.add_scalar("accuracy/train", 100 * right_now, step++);
      progress.update(x.size(0), {{"loss", loss_sum / seen}, {"accuracy", 100 * right / seen}});
    }
    progress.finish();
    seconds += progress.seconds();
  }
  std::printf("trained in %.1f s; the model waited %.1f %% of it for data\n", seconds,
              100 * train.stats().wait_share());

  // What was learned goes to a file, and from there into a fresh model.
  save_safetensors(o.weights, model.state_dict());
  Net loaded;
  loaded.load_state_dict(load_safetensors(o.weights));
  const double result = evaluate(loaded, test);
  writer.add_scalar("accuracy/test", result, step);
  writer.close();
  std::printf("the curves are in %s: tensorboard --logdir runs\n", writer.folder().c_str());

  // Some predictions, with the pictures.
  const int64_t shown = 4;
  Tensor logits;
  {
    const NoGrad no_grad;
    for (auto& [x, y] : test) {
      logits = loaded(x);
      break;
    }
  }
  const Tensor guesses = logits.argmax(1);
  for (int64_t at = 0; at < 2 * shown; at += shown) {
    std::vector<std::string> captions;
    for (int64_t i = at; i < at + shown; ++i) {
      const auto guess = guesses.select(0, i).item<int64_t>();
      const auto label = unseen.labels().select(0, i).item<int64_t>();
      captions.push_back(
          cat(data::FashionMNIST::classes[size_t(guess)],
              guess == label ? "" : cat(" (is ", data::FashionMNIST::classes[size_t(label)], ")")));
    }
    const Tensor pictures_now = unseen.images().narrow(0, at, shown);
    std::printf("\n%s", draw_images(pictures_now, captions, is_terminal(stdout)).c_str());
  }
  std::printf("\ntest accuracy: %.2f %%\n", result);
  return 0;
}

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
