"""`fauxface data audit`: how well does what has nothing to do with generation tell the labels apart?"""
