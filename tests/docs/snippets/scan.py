from fauxface import Scanner

scanner = Scanner()
for face in scanner.image("photo.jpg").faces:
    print(face.label, round(face.p_generated, 3), face.box, face.reason)
for result in scanner.video("clip.mp4"):
    print(result.frame, [face.label for face in result.faces])
