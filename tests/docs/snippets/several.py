from fauxface import Scanner

scanner = Scanner()
print(scanner.image("portrait.jpg").faces)
for result in scanner.images(["a.jpg", "b.jpg"]):
    print(result.source, result.error, [face.label for face in result.faces])
for result in scanner.video("clip.mp4", every=5):
    print(result.frame, [round(face.p_generated, 3) for face in result.faces])
