# kws on Nordic nRF52840 DK: renode-test kws.robot
*** Variables ***
${REPL}    ${CURDIR}/nrf52840dk.repl
${ELF}     ${CURDIR}/kws.elf

*** Test Cases ***
Model Computes The Same Bytes
    Execute Command          mach create "kws"
    Execute Command          machine LoadPlatformDescription @${REPL}
    Execute Command          sysbus LoadELF @${ELF}
    Execute Command          cpu PerformanceInMips 64
    Execute Command          sysbus WriteDoubleWord 0x20001000 0x5AFEC0DE
    Create Terminal Tester   sysbus.uart0    timeout=60    defaultPauseEmulation=true
    Start Emulation
    Wait For Line On Uart    tc:output 0 0 00ff7f80 *4c08
    Wait For Line On Uart    tc:output 0 1 01 *cd2c
    Wait For Line On Uart    tc:output 1 0 0102f3f4 *4dd8
    Wait For Line On Uart    tc:output 1 1 02 *b8ef
    ${line}=    Wait For Line On Uart    tc:stack ([0-9]+)    treatAsRegex=true
    Should Be True           ${line.Groups[0]} <= 328
    Wait For Line On Uart    tc:done 4 *1ef6
    ${word}=    Execute Command    sysbus ReadDoubleWord 0x20001000
    Should Contain           ${word}    5AFEC0DE    ignore_case=True
