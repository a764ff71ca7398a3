"""The training stage: prepare data, train the classifier, distil the face locator, evaluate."""
